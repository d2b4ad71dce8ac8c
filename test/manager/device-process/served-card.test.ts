import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  constants,
  existsSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Reactor } from '../../../host/index.js';
import type { PasstNetwork } from '../../../manager/control/api.js';
import type { CardSpec } from '../../../manager/device-process/protocol.js';
import { openCard } from '../../../manager/device-process/served-card.js';
import type { ServedDevice } from '../../../manager/device-process/served-function.js';
import { capturedFrames } from '../../support/captured-frames.js';
import { PATIENTLY } from '../patiently.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();
const PASST: PasstNetwork = { type: 'passt', hostLoopback: true, publish: [] };
const NOBODY = { type: 'switch', socketPath: '/no/such/socket' } as const;
let reactor: Reactor;
let path: string | undefined;
const opened: ServedDevice[] = [];

beforeEach(() => {
  reactor = new Reactor({ onError: () => {} });
  reactor.start();
  path = process.env.PATH;
});
afterEach(async () => {
  for (const { device } of opened.splice(0)) await device.close();
  reactor.close();
  process.env.PATH = path;
});

async function open(peer: CardSpec['peer'], options: Partial<CardSpec> = {}): Promise<ServedDevice> {
  const spec: CardSpec = {
    ...{ type: 'card', name: 'n', mac: '52:54:00:00:00:01', queuePairs: 1 },
    up: true,
    peer,
  };
  const served = await openCard({ ...spec, ...options }, reactor, () => {});
  opened.push(served);
  return served;
}

/** A shell script that stands in for passt: what it was told, and the process of each time that it was started. */
function fakePasst(script: string): { readonly words: () => string; readonly pids: () => number[] } {
  const directory = folder();
  const starts = join(directory, 'starts');
  writeFileSync(
    join(directory, 'passt'),
    `#!/bin/sh\necho $$ "$@" $(grep flags /proc/$$/fdinfo/3) >>${starts}\n${script}\n`,
  );
  chmodSync(join(directory, 'passt'), 0o755);
  process.env.PATH = `${directory}${delimiter}${path}`;
  const lines = () => readFileSync(starts, 'utf8').trim().split('\n');
  return { words: () => lines()[0], pids: () => lines().map((line) => Number.parseInt(line, 10)) };
}

describe('a card on passt', () => {
  it('says what to install where there is none', async () => {
    process.env.PATH = folder();
    await expect(open(PASST)).rejects.toMatchObject(
      refusal('NETWORK_UNAVAILABLE', /no passt on the PATH/, /apt install passt/),
    );
  });

  it('says what passt says where that does not start', async () => {
    fakePasst('echo "Failed to bind port 80" >&2; exit 1');
    await expect(open(PASST)).rejects.toMatchObject(
      refusal('NETWORK_UNAVAILABLE', /does not start: Failed to bind port 80/),
    );
  });

  it('gives it its ports, and the host’s loopback interface only if that is wanted', async () => {
    const passt = fakePasst('echo DHCP: >&2; exec sleep 100');
    const served = await open({ ...PASST, hostLoopback: false, publish: [{ host: 8080, guest: 80 }] });
    expect(served.card?.status.carrier).toBe(true);
    const words = passt.words();
    expect(words).toContain('--foreground --fd 3');
    const flags = Number.parseInt(words.split('flags:')[1], 8);
    expect(flags & constants.O_NONBLOCK).toBe(0);
    expect(words).toContain('--no-map-gw --tcp-ports 127.0.0.1/8080:80');
  });

  it('starts another when it ends, and none after the card is gone', async () => {
    const passt = fakePasst('echo DHCP: >&2; exec sleep 100');
    const { device } = await open(PASST);
    process.kill(passt.pids()[0], 'SIGKILL');
    await expect.poll(() => passt.pids().length, PATIENTLY).toBe(2);
    await device.close();
    const isGone = (pid: number) => !existsSync(`/proc/${pid}`);
    await expect.poll(() => passt.pids().map(isGone), PATIENTLY).toEqual([true, true]);
  });
});

describe('a card', () => {
  it('on a switch that is not there has no carrier, and says so', async () => {
    const served = await open(NOBODY);
    expect(served.card?.status).toMatchObject({ carrier: false, statistics: { txFrames: 0 } });
  });

  it('on a TAP device that cannot be opened says how to make one', async () => {
    await expect(open({ type: 'tap', interface: 'a/b' })).rejects.toMatchObject(
      refusal('NETWORK_UNAVAILABLE', /TAP device a\/b/, /ip tuntap add/),
    );
  });
});

describe('the capture of a card', () => {
  const REQUEST = { maxBytes: 1e6, forMs: 60_000, asOnWire: false };

  it('ends when it is asked to, when its time is up, and when the card goes: with a whole file each time', async () => {
    const served = await open(NOBODY);
    const file = () => join(folder(), 'x.pcapng');
    const [asked, timed, removed] = [file(), file(), file()];
    const first = served.card?.startCapture({ ...REQUEST, path: asked });
    served.card?.endCapture();
    expect(await first).toEqual({ frames: 0, bytes: statSync(asked).size, reason: 'ended' });
    expect(statSync(asked).mode & 0o777).toBe(0o600);
    expect(await served.card?.startCapture({ ...REQUEST, path: timed, forMs: 5 })).toMatchObject({
      reason: 'ended',
    });
    const last = served.card?.startCapture({ ...REQUEST, path: removed });
    await served.device.close();
    expect(await last).toMatchObject({ reason: 'removed' });
    for (const path of [asked, timed, removed]) expect(capturedFrames(readFileSync(path))).toEqual([]);
  });

  it('is one at a time', async () => {
    const { card } = await open(NOBODY);
    const path = join(folder(), 'x.pcapng');
    const first = card?.startCapture({ ...REQUEST, path });
    expect(() => card?.startCapture({ ...REQUEST, path })).toThrow(/being captured already/);
    card?.endCapture();
    await first;
    const again = card?.startCapture({ ...REQUEST, path });
    card?.endCapture();
    expect(await again).toMatchObject({ frames: 0 });
  });

  it('goes to a regular file and nothing else, and into an emptied one', async () => {
    const { card } = await open(NOBODY);
    const directory = folder();
    execFileSync('mkfifo', [join(directory, 'fifo')]);
    symlinkSync('/dev/null', join(directory, 'null'));
    for (const name of ['fifo', 'null', '.', 'no/such']) {
      expect(() => card?.startCapture({ ...REQUEST, path: join(directory, name) })).toThrow(
        expect.objectContaining(refusal('SOURCE_UNREADABLE', /cannot write to/)),
      );
    }
    const path = join(directory, 'old.pcapng');
    writeFileSync(path, 'x'.repeat(5000));
    const captured = card?.startCapture({ ...REQUEST, path });
    card?.endCapture();
    expect(statSync(path).size).toBe((await captured)?.bytes);
  });
});
