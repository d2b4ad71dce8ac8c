import { describe, expect, it } from 'vitest';
import { qemuArgs, type QemuArgsOptions } from '../../../manager/vmm/args.js';

function args(options: Partial<QemuArgsOptions> = {}): string[] {
  return qemuArgs({
    memoryMiB: 256,
    slotCount: 2,
    qmpSocketPath: '/d/qmp.sock',
    occupied: new Map(),
    ...options,
  });
}

/** The values of one flag, in order. */
function values(list: readonly string[], flag: string): string[] {
  return list.flatMap((value, i) => (list[i - 1] === flag ? [value] : []));
}

describe('qemuArgs', () => {
  it('gives the guest memory that can be shared, in one size', () => {
    const list = args();
    expect(values(list, '-machine')).toEqual(['q35,memory-backend=chassis-mem']);
    expect(values(list, '-object')).toEqual(['memory-backend-memfd,id=chassis-mem,size=256M,share=on']);
    expect(values(list, '-m')).toEqual(['256M']);
  });

  it('makes 64 ports that fit one bus, each with an address and number of its own', () => {
    const ports = values(args({ slotCount: 64 }), '-device').map(
      (text) => new Map(text.split(',').map((pair) => pair.split('=') as [string, string])),
    );
    expect(ports.map((port) => port.get('id'))).toEqual(
      Array.from({ length: 64 }, (_, i) => `chassis-slot${i + 1}`),
    );
    expect(new Set(ports.map((port) => port.get('addr'))).size).toBe(64);
    expect(new Set(ports.map((port) => `${port.get('chassis')} ${port.get('slot')}`)).size).toBe(64);
    for (const port of ports) {
      const [device, fn] = (port.get('addr') ?? '').split('.').map(Number);
      expect(device).toBeGreaterThanOrEqual(0x10);
      expect(device).toBeLessThan(0x1f);
      expect(fn).toBeLessThan(8);
      expect(port.get('multifunction')).toBe('on');
    }
  });

  it('writes commas in the socket path twice', () => {
    expect(values(args({ qmpSocketPath: '/a,b/q,.sock' }), '-qmp')).toEqual([
      'unix:/a,,b/q,,.sock,server=on,wait=off',
    ]);
  });

  it('puts in what is attached already, function 0 of a slot last', () => {
    const occupied = new Map([
      [
        1,
        [
          { function: 0, socketPath: '/d/a,"b', tag: 'a', port: 'vfio-user' as const },
          { function: 3, socketPath: '/d/c', tag: 'c', port: 'vfio-user' as const },
        ],
      ],
      [2, [{ function: 0, socketPath: '/d/e', tag: 'e', port: 'vfio-user' as const }]],
    ]);
    expect(values(args({ occupied }), '-chardev')).toEqual([]);
    const devices = values(args({ occupied }), '-device')
      .slice(2)
      .map((text) => JSON.parse(text) as unknown);
    expect(devices).toMatchObject([
      {
        id: 'chassis-slot1-fn3',
        bus: 'chassis-slot1',
        addr: '0.3',
        multifunction: true,
        socket: { type: 'unix', path: '/d/c' },
      },
      { id: 'chassis-slot1-fn0', addr: '0.0', multifunction: true, socket: { path: '/d/a,"b' } },
      { id: 'chassis-slot2-fn0', bus: 'chassis-slot2', addr: '0.0', multifunction: false },
    ]);
  });

  it('puts in what is attached over vhost-user with a chardev each', () => {
    const plugged = { function: 0, socketPath: '/d/a,b', tag: 'tag', port: 'vhost-user' as const };
    const occupied = new Map([[2, [plugged]]]);
    expect(values(args({ occupied }), '-chardev')).toEqual(['socket,id=chassis-slot2-fn0,path=/d/a,,b']);
    expect(JSON.parse(values(args({ occupied }), '-device')[2])).toMatchObject({
      driver: 'vhost-user-test-device-pci',
      id: 'chassis-slot2-fn0',
      config_size: 5,
      chardev: 'chassis-slot2-fn0',
    });
  });
});
