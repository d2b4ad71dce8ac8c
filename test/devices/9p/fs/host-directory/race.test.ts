/** Races where the kernel itself holds each look-up beneath its directory. */
import { describe } from 'vitest';
import { hasOpenat2 } from '../../../../../host/index.js';
import { raceSuite } from './race-suite.js';

describe.runIf(hasOpenat2())('attacked by a process of the host', () => raceSuite('with openat2'));
