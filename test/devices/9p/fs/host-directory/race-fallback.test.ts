/** Races on a kernel without openat2: each name is one component, whose link is not followed. */
import { vi } from 'vitest';
import { raceSuite } from './race-suite.js';

vi.mock(import('../../../../../host/index.js'), async (original) => ({
  ...(await original()),
  hasOpenat2: () => false,
  openat2: () => {
    throw new Error('there is no openat2');
  },
}));

raceSuite('attacked by a process of the host, without openat2');
