import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HostDirectory } from '../../devices/9p/fs/host-directory/host-directory.js';
import type { Mount } from '../../manager/control/api.js';
import { LINUX_VIRTIO_MSIZE_MAX_BYTES } from '../../devices/9p/virtio-9p.js';
import { Virtio9pMux } from '../../devices/9p/virtio-9p-mux.js';
import { LinuxGuest } from '../../testbed/guest.js';
import { describePerPort, describeRealGuest, Lab, requireRealQemu } from './lab.js';
import { DeviceServer, machineArgs, type ServedDevice } from './support/device-server.js';

const QUEUES = 4;
const MULTIPLEX = 1n << 23n;

describeRealGuest('Linux, which knows nothing of multiplexing 9p devices', () => {
  let server: DeviceServer;
  let guest: LinuxGuest;
  const devices = new Map<string, { device: Virtio9pMux; served: ServedDevice }>();

  async function attach(device: Virtio9pMux, queue: number, tag: string): Promise<void> {
    const folder = join(server.folder, tag);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'name'), tag);
    device.attach(queue, await HostDirectory.open(folder), tag, {
      maxMsizeBytes: LINUX_VIRTIO_MSIZE_MAX_BYTES,
      readOnly: false,
      maxFids: 1000,
      maxOpenFiles: 1000,
      log: (line) => server.complaints.push(line),
    });
  }

  beforeAll(async () => {
    server = await DeviceServer.start();
    for (const [i, port] of ['vfio-user', 'vhost-user'].entries()) {
      const device = new Virtio9pMux(QUEUES);
      await attach(device, 0, `${port}-first`);
      await attach(device, 2, `${port}-third`);
      const served =
        port === 'vfio-user'
          ? server.vfioUser(device, i + 1, { msix: true })
          : server.vhostUser(device, i + 1, {
              driver: 'vhost-user-test-device-pci',
              'virtio-id': device.deviceId,
              num_vqs: QUEUES,
              vq_size: device.queueSizes[0],
              config_size: device.config.length,
            });
      devices.set(port, { device, served });
    }
    guest = await LinuxGuest.boot({
      qemu: requireRealQemu(),
      kernel: '6.12',
      machineArgs: [...machineArgs(512), ...[...devices.values()].flatMap(({ served }) => served.args)],
    });
  });
  afterAll(async () => {
    await guest?.shutdown();
    await server?.close();
  });

  it.each(['vfio-user', 'vhost-user'])(
    'mounts the first queue over %s, and is not disturbed by what comes and goes on the others',
    async (port) => {
      const { device, served } = devices.get(port)!;
      const { stdout } = await guest.ok(`set -e
        cat /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag | tr '\\0' '\\n'
        mkdir -p /mnt/${port}
        mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 ${port}-first /mnt/${port}
        cat /mnt/${port}/name`);
      expect(stdout).toContain(`${port}-first`);
      expect(stdout).not.toContain('third');
      expect((served.features ?? 0n) & MULTIPLEX).toBe(0n);
      await device.detach(2);
      for (let round = 0; round < 3; round++) {
        await attach(device, 1, `${port}-second`);
        await guest.ok(`echo ${round} > /mnt/${port}/written`);
        await device.detach(1);
      }
      expect(await readFile(join(server.folder, `${port}-first`, 'written'), 'utf8')).toBe('2\n');
      await guest.ok(`umount /mnt/${port}`);
      expect(device.statistics(0)?.fids).toBe(0);
      expect(server.complaints).toEqual([]);
    },
  );
});

describePerPort('mounts on queues of a chassis, in Linux', (port) => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.start(port);
    await lab.boot('6.12');
  });
  afterAll(() => lab.stop());

  async function attach(tag: string): Promise<Mount> {
    const path = await lab.directory(tag);
    await writeFile(join(path, 'name'), tag);
    return (await lab.attach(path, '--via', 'queue'))[0];
  }

  it('show it the first, which others that come and go do not disturb, and come out with their function', async () => {
    await lab.mountInGuest(await attach('first'));
    expect(await lab.sh('cat /mnt/first/name')).toBe('first');
    for (let round = 0; round < 2; round++) {
      expect(await attach('second')).toMatchObject({ via: 'queue', queue: 1, state: 'plugged' });
      await lab.sh(`echo ${round} > /mnt/first/written`);
      await lab.detach('second');
    }
    expect(await readFile(join(lab.folder, 'first', 'written'), 'utf8')).toBe('1\n');
    expect(await lab.sh('ls /sys/bus/virtio/drivers/9pnet_virtio | grep -c virtio')).toBe('1');
    expect((await lab.show()).mounts).toMatchObject([
      { tag: 'chassis-queues', driver: {} },
      { tag: 'first', queue: 0, counters: { requests: expect.any(Number) as number, bytesWritten: 4 } },
    ]);
    expect(await lab.daemon.failure('detach', 'first')).toMatchObject({ code: 'MOUNT_BUSY' });
    await lab.detach('first', '--force');
    expect(await lab.sh('ls /mnt/first 2>&1 || true')).toMatch(/No such device/);
    await lab.sh('umount /mnt/first');
    await lab.detach('chassis-queues');
    expect((await lab.show()).mounts).toEqual([]);
  });
});
