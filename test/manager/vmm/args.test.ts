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

  it('puts slots beyond 64 behind switches, 32 to a switch', () => {
    const devices = values(args({ slotCount: 224 }), '-device').map((text) => {
      const [driver, ...pairs] = text.split(',');
      return { driver, ...Object.fromEntries(pairs.map((pair) => pair.split('='))) } as Record<
        string,
        string
      >;
    });
    const ports = devices.filter(({ id }) => id.startsWith('chassis-slot'));
    expect(ports.map(({ id }) => id)).toEqual(Array.from({ length: 224 }, (_, i) => `chassis-slot${i + 1}`));
    expect(new Set(devices.map(({ bus, addr }) => `${bus} ${addr}`)).size).toBe(224 + 2 * 5);
    const numbered = devices.filter(({ chassis }) => chassis !== undefined);
    expect(new Set(numbered.map(({ chassis, slot }) => `${chassis} ${slot}`)).size).toBe(224 + 5);
    for (const { chassis } of numbered) expect(Number(chassis)).toBeLessThan(256);
    expect(devices.filter(({ driver }) => driver === 'x3130-upstream')).toMatchObject(
      Array.from({ length: 5 }, (_, i) => ({ id: `chassis-switch${i + 1}`, bus: `chassis-uplink${i + 1}` })),
    );
    expect(ports[95]).toMatchObject({ driver: 'xio3130-downstream', bus: 'chassis-switch1', addr: '0x3.7' });
    expect(ports[96]).toMatchObject({ bus: 'chassis-switch2', addr: '0x0.0' });
    // Each bridge takes a bus number, and so does bus 0.
    expect(devices.length + 1).toBeLessThanOrEqual(256);
  });

  it('makes no more of the last switch than is needed', () => {
    const devices = values(args({ slotCount: 66 }), '-device');
    expect(devices.filter((device) => device.startsWith('xio3130-downstream'))).toHaveLength(2);
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

  it('has a network card over vhost-user plugged into its netdev, behind its chardev', () => {
    const card = { mac: '52:54:00:00:00:01', queuePairs: 1, up: true };
    const plugged = {
      function: 0,
      tag: 'lan0',
      port: 'vhost-user' as const,
      socketPath: '/d/s2f0.sock',
      card,
    };
    const list = args({ occupied: new Map([[2, [plugged]]]) });
    const id = 'chassis-slot2-fn0';
    expect(values(list, '-chardev')).toEqual([`socket,id=${id},path=/d/s2f0.sock,reconnect-ms=100`]);
    expect(JSON.parse(values(list, '-netdev')[0])).toEqual({
      type: 'vhost-user',
      id,
      chardev: id,
      queues: 1,
    });
    const device = JSON.parse(values(list, '-device').at(-1) ?? '') as object;
    expect(device).toMatchObject({
      driver: 'virtio-net-pci',
      netdev: id,
      vectors: 4,
      mac: card.mac,
      mq: false,
    });
    expect(device).not.toHaveProperty('host_mtu');
  });
});
