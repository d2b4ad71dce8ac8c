import { describe, expect, it } from 'vitest';
import { cloudHypervisorArgs } from '../../../../manager/vmm/cloud-hypervisor/args.js';

const OPTIONS = { memoryMiB: 512, slotCount: 8, apiSocketPath: '/d/ch.sock', occupied: new Map() };
const mount = (socketPath: string) => ({ function: 0, tag: 'a', port: 'vfio-user' as const, socketPath });

describe('cloudHypervisorArgs', () => {
  it('gives the guest shared memory, and the API its socket', () => {
    expect(cloudHypervisorArgs(OPTIONS)).toEqual([
      ...['--api-socket', 'path=/d/ch.sock'],
      ...['--memory', 'size=512M,shared=on'],
    ]);
  });

  it('asks for as many segments as the slots take, of 31 each', () => {
    const segments = (slotCount: number) => cloudHypervisorArgs({ ...OPTIONS, slotCount }).slice(4);
    expect(segments(31)).toEqual([]);
    expect(segments(32)).toEqual(['--platform', 'num_pci_segments=2']);
    expect(segments(224)).toEqual(['--platform', 'num_pci_segments=8']);
  });

  it('names each flag once, with a value for each device', () => {
    const disk = { disk: { queues: 4 }, port: 'vhost-user' as const, function: 0, tag: 'd' };
    const card = { card: { mac: '52:54:00:00:00:01', queuePairs: 2, up: true }, port: 'vhost-user' as const };
    const occupied = new Map([
      [1, [mount('/d/1')]],
      [2, [{ ...disk, socketPath: '/d/2' }]],
      [3, [{ ...card, function: 0, tag: 'c', socketPath: '/d/3' }]],
      [32, [mount('/d/4')]],
    ]);
    expect(cloudHypervisorArgs({ ...OPTIONS, slotCount: 32, occupied }).slice(6)).toEqual([
      '--user-device',
      'socket=/d/1,id=chassis-slot1-fn0,pci_segment=0',
      'socket=/d/4,id=chassis-slot32-fn0,pci_segment=1',
      '--disk',
      'vhost_user=on,socket=/d/2,num_queues=1,queue_size=256,id=chassis-slot2-fn0,pci_segment=0',
      '--net',
      'vhost_user=on,socket=/d/3,mac=52:54:00:00:00:01,num_queues=2,id=chassis-slot3-fn0,pci_segment=0',
    ]);
  });

  it('quotes what would end a value', () => {
    const occupied = new Map([[1, [mount('/d/a,b"[c')]]]);
    expect(cloudHypervisorArgs({ ...OPTIONS, occupied }).at(-1)).toMatch(/^socket="\/d\/a,b""\[c",id=/);
  });
});
