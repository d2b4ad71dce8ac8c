import { describe, expect, it } from 'vitest';
import { ChassisError } from '../../../manager/control/api.js';
import { DeviceProcess, type FunctionFactory } from '../../../manager/device-process/device-process.js';
import { MountTree } from '../../../devices/9p/fs/mount-tree/mount-tree.js';
import { Virtio9pMux } from '../../../devices/9p/virtio-9p-mux.js';
import { KeeperLink } from '../../../manager/device-process/keeping/keeper-link.js';
import { HandOvers } from '../../../manager/device-process/hand-over/hand-overs.js';
import type { MovableFunction } from '../../../manager/device-process/hand-over/movable.js';
import { ServedMount } from '../../../manager/device-process/served-mount.js';
import { ServedQueues } from '../../../manager/device-process/served-queues.js';
import { ServedTree } from '../../../manager/device-process/served-tree.js';
import type { Report } from '../../../manager/device-process/protocol.js';
import type { Answer } from '../../../manager/process-protocol.js';
import { PATIENTLY } from '../patiently.js';
import { NO_COUNTERS } from '../fakes.js';
import { notingLog, silentLog } from '../../support/log.js';

/** A file system without anything. */
const NOTHING = { attach: () => -2, close: () => undefined };
const device = { type: '9p', tag: 'a', source: { type: 'memory' }, readOnly: false };
const add = (id: number, name = 'f') => ({
  id,
  method: 'addFunction',
  params: { function: name, socketPath: '/s', port: 'vfio-user', msix: true, device },
});

function setUp(create: FunctionFactory) {
  const reports: (Answer | Report)[] = [];
  const log: string[] = [];
  const connections = {
    connect: () => Promise.reject(new Error('nobody is there')),
    accept: () => Promise.reject(new Error('nobody comes')),
  };
  const process = new DeviceProcess({
    createFunction: create,
    keeper: new KeeperLink({ connections, log: notingLog(log).warn }),
    openOverlay: () => Promise.reject(new Error('no overlay')),
    handOvers: new HandOvers({
      connections,
      onTakenOver: () => undefined,
      onHandedOver: () => undefined,
      onUnbegun: () => undefined,
    }),
    report: (report) => reports.push(report),
    log: notingLog(log),
  });
  const receive = (message: unknown) => process.receive(message, (answer) => reports.push(answer));
  return { process, receive, reports, log };
}

const IMMOVABLE: MovableFunction = {
  offer: () => ({}),
  pause: async () => undefined,
  save: () => ({ device: {}, port: {} }),
  restore: async () => undefined,
  resume: () => undefined,
};

/** Makes functions that note when they are closed. */
function noting(closed: string[]): FunctionFactory {
  return async (spec, hooks) => {
    hooks.onConnect();
    return {
      connected: true,
      movable: IMMOVABLE,
      saveToFile: () => undefined,
      loadFromFile: async () => undefined,
      counters: () => NO_COUNTERS,
      tree: undefined,
      disk: undefined,
      driver: undefined,
      setSource: async () => undefined,
      close: async () => {
        closed.push(spec.function);
        hooks.onDisconnect();
      },
    };
  };
}

describe('DeviceProcess', () => {
  it.each([
    null,
    [],
    'status',
    {},
    { id: 0, method: 'status', params: {} },
    { id: 1, method: 'toString', params: {} },
    { id: 1, method: 'addFunction', params: { function: 'f', socketPath: '/s' } },
    {
      id: 1,
      method: 'addFunction',
      params: { function: 'f', socketPath: '/s', device: { ...device, type: 'tape' } },
    },
    { id: '1', method: 'status', params: {} },
  ])('refuses %j as a request', (message) => {
    const { receive } = setUp(noting([]));
    expect(() => receive(message)).toThrow(TypeError);
  });

  it('makes functions, reports on them and removes them', async () => {
    const closed: string[] = [];
    const { process, receive, reports } = setUp(noting(closed));
    receive(add(1));
    receive({ id: 2, method: 'status', params: {} });
    receive({ id: 3, method: 'removeFunction', params: { function: 'f' } });
    receive({ id: 4, method: 'removeFunction', params: { function: 'f' } });
    await process.close();
    expect(reports).toEqual([
      { event: 'connected', function: 'f' },
      { id: 1, result: { keep: {} } },
      { id: 2, result: { functions: [{ function: 'f', connected: true, counters: NO_COUNTERS }] } },
      { event: 'disconnected', function: 'f' },
      { id: 3, result: {} },
      { id: 4, result: {} },
    ]);
    expect(closed).toEqual(['f']);
  });

  it('passes on what the operator can mend, and logs the rest', async () => {
    const failures: Error[] = [
      new ChassisError('SOURCE_MISSING', 'there is no x', 'create it'),
      new Error('secret detail'),
    ];
    const { process, receive, reports, log } = setUp(async () => {
      throw failures.shift() as Error;
    });
    receive(add(1));
    receive(add(2));
    await process.close();
    expect(reports[0]).toEqual({
      id: 1,
      error: { code: 'SOURCE_MISSING', message: 'there is no x', suggestion: 'create it' },
    });
    expect(reports[1]).toMatchObject({ id: 2, error: { code: 'INTERNAL' } });
    expect(JSON.stringify(reports)).not.toMatch(/secret/);
    expect(log.join()).toMatch(/secret detail/);
  });

  it('refuses a second function of a name, and keeps the first', async () => {
    const closed: string[] = [];
    const { receive, reports } = setUp(noting(closed));
    receive(add(1));
    receive(add(2));
    receive({ id: 3, method: 'status', params: {} });
    await expect.poll(() => reports.length, PATIENTLY).toBe(4);
    expect(reports[2]).toMatchObject({ id: 2, error: {} });
    expect(closed).toEqual([]);
  });

  it('answers others while it waits for a guest', async () => {
    const tree = new ServedTree(
      new MountTree({ log: () => undefined }),
      async (_, terms) => new ServedMount({ fs: NOTHING, overlay: undefined, inMemory: [] }, terms),
    );
    const { receive, reports } = setUp(async (spec, hooks) => ({ ...(await noting([])(spec, hooks)), tree }));
    receive(add(1));
    const child = { function: 'f', name: 'a', source: { type: 'memory' }, readOnly: false, target: '/a' };
    receive({ id: 2, method: 'addChild', params: child });
    await expect.poll(() => reports.length, PATIENTLY).toBe(3);
    receive({
      id: 3,
      method: 'childMounted',
      params: { function: 'f', name: 'a', timeoutMs: 60_000 },
    });
    receive({ id: 4, method: 'children', params: { function: 'f', from: 0 } });
    receive({ id: 5, method: 'removeChild', params: { function: 'f', name: 'a' } });
    await expect.poll(() => reports.length, PATIENTLY).toBe(6);
    const answers = new Map(reports.map((report) => ['id' in report ? report.id : 0, report]));
    expect(answers.get(4)).toMatchObject({ result: { children: [{ name: 'a', state: 'waiting' }] } });
    expect(answers.get(5)).toMatchObject({ result: { fids: 0, openFiles: 0 } });
    // Taking it away ends the wait.
    expect(answers.get(3)).toMatchObject({ error: { code: 'NO_MOUNT' } });
  });

  it('puts mounts on the queues of a function that has some, counts them, and takes them away', async () => {
    const queues = new ServedQueues({
      mux: new Virtio9pMux(2),
      openMount: async (_, terms) =>
        new ServedMount({ fs: NOTHING, overlay: undefined, inMemory: [] }, terms),
      serverOptions: (_, limits) => ({
        ...{ maxMsizeBytes: 8192, readOnly: false, maxFids: 10, maxOpenFiles: 10, log: () => undefined },
        ...limits,
      }),
      log: silentLog,
    });
    const { process, receive, reports } = setUp(async (spec, hooks) => {
      const served = await noting([])(spec, hooks);
      return spec.function === 'f' ? { ...served, queues } : served;
    });
    receive(add(1));
    receive(add(2, 'plain'));
    const seat = { tag: 'a', source: { type: 'memory' }, readOnly: false, queues: [1, 0] };
    receive({ id: 3, method: 'addSeat', params: { ...seat, function: 'f' } });
    receive({ id: 4, method: 'addSeat', params: { ...seat, function: 'plain' } });
    receive({ id: 5, method: 'status', params: {} });
    const removal = { queue: 1, force: false };
    receive({ id: 6, method: 'removeSeat', params: { ...removal, function: 'f' } });
    receive({ id: 7, method: 'removeSeat', params: { ...removal, function: 'gone' } });
    await process.close();
    const answers = new Map(reports.map((report) => ['id' in report ? report.id : 0, report]));
    expect(answers.get(3)).toMatchObject({ result: { queue: 1 } });
    expect(answers.get(4)).toMatchObject({ error: { code: 'INTERNAL' } });
    expect(answers.get(5)).toMatchObject({
      result: { functions: [{ function: 'f', seats: [{ queue: 1, counters: { fids: 0 } }] }, {}] },
    });
    for (const id of [6, 7]) expect(answers.get(id)).toMatchObject({ result: { fids: 0, openFiles: 0 } });
  });

  it('closes all functions when it ends, though closing one fails', async () => {
    const closed: string[] = [];
    const { process, receive, log } = setUp(async (spec, hooks) => {
      const served = await noting(closed)(spec, hooks);
      return spec.function === 'bad'
        ? { ...served, close: () => Promise.reject(new Error('stuck')) }
        : served;
    });
    receive(add(1, 'bad'));
    receive(add(2, 'good'));
    await process.close();
    expect(closed).toEqual(['good']);
    expect(log.join()).toMatch(/stuck/);
  });
});
