/** A machine without disks that boots from its network card: by the iPXE that QEMU brings for it, and by that one's own virtio driver. */
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { LearningSwitch } from '../../devices/net/switch/learning-switch.js';
import { VirtioNet } from '../../devices/net/virtio-net.js';
import { findBusybox } from '../../testbed/busybox.js';
import { writeCpio } from '../../testbed/cpio.js';
import { findKernel } from '../../testbed/kernel.js';
import { describeRealGuest } from './lab.js';
import { BootServer } from './support/boot-server.js';
import { genericDevice } from './support/combinations.js';
import { DeviceServer, type ServedDevice } from './support/device-server.js';
import { runFirmware } from './support/firmware.js';

const SLOT = 3;
/** Comes with QEMU, and is for the ids of modern devices. */
const ROM = 'pxe-virtio.rom';
const TIMEOUT_MS = 200_000;
/** MTU, MAC and STATUS. */
const IPXE_FEATURES = 0x1_0028n;
const KERNEL_ARGUMENTS = 'console=ttyS0 quiet cryptomgr.notests panic=-1';
const SCRIPT = `#!ipxe
kernel ${BootServer.url}/linux initrd=initrd ${KERNEL_ARGUMENTS} from=network || exit
initrd ${BootServer.url}/initrd || exit
boot
`;
const INIT = `#!/busybox sh
/busybox mkdir /proc
/busybox mount -t proc proc /proc
/busybox cat /proc/cmdline
/busybox sha256sum /payload
/busybox poweroff -f
`;

describeRealGuest('iPXE loads a Linux and its first root file system through a card', () => {
  const payload = randomBytes(1 << 20);
  let files: ReadonlyMap<string, Uint8Array>;
  let server: DeviceServer;

  beforeAll(async () => {
    const [kernel, busybox] = await Promise.all([findKernel('6.12'), findBusybox()]);
    const initrd = writeCpio([
      { kind: 'folder', path: 'dev', mode: 0o755 },
      { kind: 'file', path: 'init', mode: 0o755, bytes: Buffer.from(INIT) },
      { kind: 'file', path: 'busybox', mode: 0o755, bytes: await readFile(busybox.path) },
      { kind: 'file', path: 'payload', mode: 0o644, bytes: payload },
    ]);
    files = new Map<string, Uint8Array>([
      ['boot.ipxe', Buffer.from(SCRIPT)],
      ['linux', await readFile(kernel.bzImagePath)],
      ['initrd', initrd],
    ]);
  });
  beforeEach(async () => {
    server = await DeviceServer.start();
  });
  afterEach(() => server.close());

  it.each<[string, (device: VirtioNet) => ServedDevice]>([
    ['over vfio-user', (device) => server.vfioUser(device, SLOT, { msix: true })],
    ['over vhost-user', (device) => server.vhostUser(device, SLOT, genericDevice(device))],
  ])('%s', async (_port, serve) => {
    const net = new LearningSwitch();
    const device = new VirtioNet(net.addPort(), { mac: '52:54:00:00:00:0f' });
    new BootServer(net.addPort(), files);
    const served = serve(device);
    const properties = JSON.parse(served.args.at(-1) ?? '') as object;
    const args = [...served.args.slice(0, -1), JSON.stringify({ ...properties, romfile: ROM })];
    const { serial, stderr } = await runFirmware({ args }, [], TIMEOUT_MS);
    expect(serial).toContain('from=network');
    expect(serial).toContain(createHash('sha256').update(payload).digest('hex'));
    expect(stderr).toBe('');
    // iPXE asks for no offloads: it was no Linux that fetched all this.
    expect((served.features ?? 0n) & 0xffffffn & ~IPXE_FEATURES).toBe(0n);
    expect(device.statistics).toMatchObject({ txInvalid: 0, rxTooLong: 0 });
    expect(server.complaints).toEqual([]);
  });
});
