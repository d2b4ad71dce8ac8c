/** A daemon that is killed at every step of an apply: before the step, in the middle of it, and when it is done but nobody heard of that. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { applyOnce, type Applied } from '../../../cli/apply/apply.js';
import { loadManifests } from '../../../cli/apply/manifest/load.js';
import type { Stopped } from '../../../cli/apply/execute.js';
import { hasDrift } from '../../../cli/apply/plan/plan-item.js';
import { exitCodes, ExitCode } from '../../../cli/support/exit-codes.js';
import { ChassisError, type Chassis } from '../../../manager/control/api.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { DaemonProcess, processesOf } from '../../manager/daemon-process.js';
import { PATIENTLY } from '../../manager/patiently.js';
import { temporaryFolders } from '../../manager/temporary-folder.js';
import { ApiProxy, type Moment } from './api-proxy.js';

/** Of each kind of step one at least; from one to the next, and to nothing. */
const MANIFESTS = [
  `chassis:
  dev:
    slots: 6
    mounts:
      a: {source: src, slot: 1}
      b: {source: src, slot: 1, readOnly: true}
      t: {source: src, target: /work}
      q: {source: "mem:", via: queue}
    disks: {d: {source: disk.img}}
    cards: {c: {network: {type: switch, switch: lan}}}
`,
  `chassis:
  dev:
    slots: 6
    mounts:
      a: {source: src, slot: 1, policy: {deny: ['**/.env']}}
      b: {source: other, slot: 1, readOnly: true}
      t: {source: other, target: /work}
    disks: {d: {source: disk.img, size: 2M}}
    cards: {c: {network: {type: switch, switch: lan}, up: false}}
`,
  'chassis: {}\n',
] as const;
const MOMENTS: readonly Moment[] = ['before', 'meanwhile', 'after'];

describe('a daemon that is killed at a step of an apply', { timeout: 300_000 }, () => {
  const folder = temporaryFolders();
  let root: string;
  let directory: string;
  let daemon: DaemonProcess;
  let proxy: ApiProxy | undefined;

  afterEach(async () => {
    await proxy?.stop();
    await daemon.stop();
  });

  function apply(text: string, stateDirectory: string): Promise<Applied> {
    const texts = [{ file: 'a.yaml', directory: root, text: `name: lab\n${text}` }];
    return applyOnce(
      new ChassisClient({ directory: stateDirectory }),
      loadManifests(texts, { pathName: undefined }),
      {
        ...{ prune: true, force: false, dryRun: false, timeoutMs: 30_000 },
        ...{ onPlan: () => undefined, onDone: () => undefined },
      },
    );
  }

  /** Without what names who serves it, and what changes by itself. */
  async function contents(): Promise<unknown> {
    const all = await new ChassisClient({ directory }).list();
    return all.map(({ name, slots, managedBy, kept, mounts, disks, cards }: Chassis) => ({
      ...{ name, slots, managedBy, kept },
      mounts: mounts
        .map(({ tag, source, slot, function: fn, readOnly, policy, target, via, state }) => ({
          ...{ tag, source, readOnly, policy, target, via, state },
          // Those that are not told where to be may be anywhere.
          ...(['a', 'b'].includes(tag) && { slot, fn }),
        }))
        .sort((one, other) => (one.tag < other.tag ? -1 : 1)),
      disks: disks.map(({ name: disk, source, sizeBytes, state }) => ({ disk, source, sizeBytes, state })),
      cards: cards.map(({ name: card, network, up, state }) => ({ card, network, up, state })),
    }));
  }

  async function revive(): Promise<void> {
    await daemon.exited;
    daemon = await DaemonProcess.start(directory);
  }

  it('says so, and the next apply goes on from what is there until all is as the manifest says', async () => {
    root = folder();
    directory = join(root, 'state');
    for (const name of ['src', 'other']) mkdirSync(join(root, name));
    writeFileSync(join(root, 'disk.img'), Buffer.alloc(1 << 20));
    daemon = await DaemonProcess.start(directory);
    proxy = await ApiProxy.start(join(root, 'proxy'), directory);
    const whole: unknown[] = [];
    const steps: number[] = [];
    for (const text of MANIFESTS) {
      const before = proxy.changes;
      await apply(text, proxy.directory);
      steps.push(proxy.changes - before);
      whole.push(await contents());
    }
    expect(
      steps.every((count) => count >= 5),
      String(steps),
    ).toBe(true);

    for (let step = 0; step < Math.max(...steps); step++) {
      writeFileSync(join(root, 'disk.img'), Buffer.alloc(1 << 20));
      for (const [i, text] of MANIFESTS.entries()) {
        if (step < steps[i]) await killAt(step, MOMENTS[(step + i) % MOMENTS.length], text, proxy);
        else await apply(text, directory);
        expect(await contents(), `step ${step} of manifest ${i}`).toEqual(whole[i]);
      }
    }
    // Of what was begun nothing is left: the daemon alone.
    await expect.poll(() => processesOf(directory).length, PATIENTLY).toBe(1);
  });

  async function killAt(step: number, moment: Moment, text: string, through: ApiProxy): Promise<void> {
    const act = async (): Promise<void> => void (await daemon.stop('SIGKILL'));
    through.changes = 0;
    through.at = { change: step, moment, act };
    const failure = await apply(text, through.directory).catch((error: unknown) => error);
    through.at = undefined;
    if (!(failure instanceof ChassisError)) throw new Error(`it went on: ${String(failure)}`);
    expect([failure.code, exitCodes[failure.code]]).toEqual(['NO_DAEMON', ExitCode.NO_DAEMON]);
    expect(failure.message).toMatch(/^(a\.yaml:\d+:\d+: )?cannot [^\n]+\n/);
    const { failed, undone, notUndone } = (failure as unknown as { details: Stopped }).details;
    expect(failed?.message).toMatch(/daemon/);
    expect(undone).toEqual([]);
    // What was begun cannot be undone without a daemon: it is said, with what to do.
    if (notUndone.length > 0) expect(failure.suggestion).toMatch(/chassis serve.*apply again/);
    await revive();
    await apply(text, directory);
    expect(hasDrift((await apply(text, directory)).plan)).toBe(false);
  }
});
