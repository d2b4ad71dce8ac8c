import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyOnce, type ApplyOptions } from '../../../cli/apply/apply.js';
import { loadManifests } from '../../../cli/apply/manifest/load.js';
import { printManifest } from '../../../cli/apply/manifest/print.js';
import type {
  Desired,
  DesiredCard,
  DesiredChassis,
  DesiredDisk,
  DesiredMount,
} from '../../../cli/apply/plan/desired.js';
import { planApply } from '../../../cli/apply/plan/plan.js';
import { hasDrift } from '../../../cli/apply/plan/plan-item.js';
import type { Chassis } from '../../../manager/control/api.js';
import { FakeDaemon } from './fake-daemon.js';

const AT = { file: 'chassis.yaml', line: 1, column: 1 };
const MANIFEST = 'lab';
const options: ApplyOptions = {
  ...{ prune: true, force: true, dryRun: false, timeoutMs: 1000 },
  ...{ onPlan: () => undefined, onDone: () => undefined },
};

const source = fc.constantFrom(
  { type: 'directory' as const, path: '/srv/a' },
  { type: 'directory' as const, path: '/srv/b' },
);
const policy = fc.record(
  { deny: fc.constantFrom(['**/.env'], ['*']), maxBytes: fc.constantFrom(0, 2 ** 30) },
  { requiredKeys: [] },
);

/** Of the kinds of mounts that there are: on functions with or without a slot that they share, of the tree, on queues. */
const mount = fc
  .record({
    ...{ source, readOnly: fc.boolean(), policy: fc.option(policy, { nil: undefined }) },
    overlay: fc.constantFrom(
      undefined,
      { type: 'kept' as const },
      { type: 'directory' as const, path: '/upper' },
    ),
    owner: fc.constantFrom(undefined, { type: 'mapped' as const }),
    place: fc.constantFrom<Partial<DesiredMount> & { target?: string; watch?: boolean }>(
      ...[
        {},
        { via: 'function' as const },
        { slot: 30 },
        { slot: 31 },
        { via: 'tree' as const },
        { target: '/work' },
      ],
      ...[{ watch: true, via: 'tree' as const }, { via: 'queue' as const }],
    ),
  })
  .map(({ place: { target, watch, via = 'auto', slot }, ...terms }) => {
    const said = Object.entries({ ...terms, target, watch }).filter(([, value]) => value !== undefined);
    const isEmpty = terms.policy !== undefined && Object.keys(terms.policy).length === 0;
    // One folder cannot have the changes of several mounts, which those in one slot may be.
    if (slot !== undefined && terms.overlay?.type === 'directory')
      said.splice(0, said.length, ...said.filter(([key]) => key !== 'overlay'));
    const kept = said.filter(([key]) => !(key === 'policy' && isEmpty));
    return {
      terms: Object.fromEntries(kept) as DesiredMount['terms'],
      ...{ via, permanent: false, port: 'auto' as const, ...(slot !== undefined && { slot }) },
    };
  });

const disk = fc
  .record({
    source: fc.constantFrom(
      { type: 'file' as const, path: '/etc/hosts' },
      { type: 'memory' as const, sizeBytes: 2 ** 20 },
      { type: 'memory' as const, sizeBytes: 2 ** 21 },
    ),
    readOnly: fc.boolean(),
    queues: fc.constantFrom(1, 4),
    permanent: fc.boolean(),
  })
  .map((each): Omit<DesiredDisk, 'name' | 'at'> => ({ options: { ...each, overlay: false, port: 'auto' } }));

const card = fc
  .record({
    vlan: fc.constantFrom(1, 2),
    up: fc.boolean(),
    mtu: fc.constantFrom(undefined, 9000),
    permanent: fc.boolean(),
  })
  .map(({ vlan, up, mtu, permanent }): Omit<DesiredCard, 'name' | 'at'> => ({
    options: {
      network: { type: 'switch', switch: 'lan', vlan, isolated: false, macLock: false },
      ...{ queuePairs: 1, up, permanent, port: 'auto', ...(mtu !== undefined && { mtu }) },
    },
  }));

function named<T extends object>(names: string[], each: fc.Arbitrary<T>) {
  return fc
    .uniqueArray(fc.tuple(fc.constantFrom(...names), each), { selector: ([name]) => name })
    .map((entries) => entries.map(([name, what]) => ({ ...what, name, at: AT })));
}

/** Names are of one kind or another: a thing can become another kind of thing. */
const chassis = fc
  .record({
    mounts: named(['a', 'b', 'c', 'd', 'e', 'x1', 'x2'], mount),
    disks: named(['x1', 'd1', 'd2'], disk),
    cards: named(['x2', 'c1'], card),
  })
  .map(({ mounts, disks, cards }) => ({
    mounts,
    disks: disks.filter(({ name }) => !mounts.some((other) => other.name === name)).map(withSerial),
    cards: cards.filter(({ name }) => !mounts.some((other) => other.name === name)),
  }));

function withSerial(each: DesiredDisk): DesiredDisk {
  return { ...each, options: { ...each.options, serial: each.name } };
}

const desired = fc
  .uniqueArray(fc.tuple(fc.constantFrom('dev', 'ci', 'ch'), chassis), { selector: ([name]) => name })
  .map((entries): Desired => ({
    manifest: MANIFEST,
    chassis: entries.map(([name, contents]): DesiredChassis => ({
      ...{ name, at: AT, slots: 40, ...contents },
      // Mounts there are of fewer kinds.
      ...(name === 'ch' && { vmm: 'cloud-hypervisor', apiSocket: '/ch.sock', mounts: [] }),
    })),
  }));

/** What was asked for, without where it is. */
function contentsOf(daemon: FakeDaemon): unknown {
  return [...daemon.chassis.values()]
    .map(({ name, mounts, disks, cards }) => ({
      name,
      mounts: mounts
        .filter(({ source }) => source && source.type !== 'tree' && source.type !== 'queues')
        // Where nothing is said of what carries it, anything may.
        .map(({ slot: _, function: __, state: ___, via: ____, ...rest }) => rest)
        .sort(byName),
      disks: disks.map(({ slot: _, state: __, ...rest }) => rest).sort(byName),
      cards: cards.map(({ slot: _, state: __, ...rest }) => rest).sort(byName),
    }))
    .sort(byName);
}

/** All of it: whoever rolls back puts everything where it was. */
function stateOf(daemon: FakeDaemon): Chassis[] {
  const sorted = structuredClone([...daemon.chassis.values()]).sort(byName);
  for (const { mounts, disks, cards } of sorted) [mounts, disks, cards].forEach((list) => list.sort(byName));
  return sorted;
}

function byName(a: object, b: object): number {
  const nameOf = (each: object): string =>
    'tag' in each ? String(each.tag) : 'name' in each ? String(each.name) : '';
  return nameOf(a) < nameOf(b) ? -1 : 1;
}

/** A disk would lose what is at its end, or a mount join a slot that a VM has. */
function isBlocked(wanted: Desired, there: readonly Chassis[]): boolean {
  return planApply(wanted, there, options).items.some(({ blocked }) => blocked !== undefined);
}

/** Of hundreds of runs at a time while this was written, none failed at the end. */
const RUNS = { numRuns: 25 };

describe.each([false, true])('applying manifests, VMs running: %s', (isBooted) => {
  function daemonOf(): FakeDaemon {
    const daemon = new FakeDaemon();
    daemon.isBooted = isBooted;
    return daemon;
  }

  it('does nothing the second time', async () => {
    await fc.assert(
      fc.asyncProperty(desired, async (wanted) => {
        const daemon = daemonOf();
        await applyOnce(daemon, wanted, options);
        const again = planApply(wanted, await daemon.list(), { prune: true, force: false });
        expect(again.steps).toEqual([]);
        expect(hasDrift(again)).toBe(false);
      }),
      RUNS,
    );
  });

  it('ends where the manifest says, whatever was applied before', async () => {
    await fc.assert(
      fc.asyncProperty(desired, desired, async (first, second) => {
        const [daemon, fresh] = [daemonOf(), daemonOf()];
        await applyOnce(daemon, first, options);
        fc.pre(!isBlocked(second, await daemon.list()));
        await applyOnce(daemon, second, options);
        await applyOnce(fresh, second, options);
        expect(contentsOf(daemon)).toEqual(contentsOf(fresh));
      }),
      RUNS,
    );
  });

  it('puts everything back where any one step fails', async () => {
    await fc.assert(
      fc.asyncProperty(desired, desired, fc.nat(30), async (first, second, failAt) => {
        const daemon = daemonOf();
        await applyOnce(daemon, first, options);
        const before = stateOf(daemon);
        const { steps } = planApply(second, await daemon.list(), options);
        fc.pre(steps.length > failAt && !isBlocked(second, before));
        // What is in memory, and a disk that grew, nobody brings back.
        fc.pre(steps.slice(0, failAt).every(({ loss }) => loss === undefined));
        daemon.failAt = daemon.calls.length + failAt;
        await expect(applyOnce(daemon, second, options)).rejects.toMatchObject({
          code: 'VMM_REFUSED',
          details: { notUndone: [] },
        });
        expect(stateOf(daemon)).toEqual(before);
      }),
      { numRuns: 2 * RUNS.numRuns },
    );
  });

  it('of what runs, printed as a manifest, does nothing', async () => {
    await fc.assert(
      fc.asyncProperty(desired, async (wanted) => {
        const daemon = daemonOf();
        await applyOnce(daemon, wanted, options);
        const text = printManifest(await daemon.list());
        const printed = loadManifests([{ file: '-', directory: '/', text: `name: ${MANIFEST}\n${text}` }], {
          ...{ pathName: undefined, mayLackSources: true },
        });
        const plan = planApply(printed, await daemon.list(), { prune: true, force: false });
        expect(plan.items.filter(({ action }) => action !== 'keep')).toEqual([]);
      }),
      RUNS,
    );
  });
});
