/** Manifests of chassis for Cloud Hypervisor, for which a stand-in follows its published API. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyOnce, type Applied } from '../../../cli/apply/apply.js';
import { loadManifests } from '../../../cli/apply/manifest/load.js';
import { printManifest } from '../../../cli/apply/manifest/print.js';
import { hasDrift } from '../../../cli/apply/plan/plan-item.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { DaemonProcess } from '../../manager/daemon-process.js';
import { PATIENTLY } from '../../manager/patiently.js';
import { refusal } from '../../manager/refusal.js';
import { temporaryFolders } from '../../manager/temporary-folder.js';
import { CloudHypervisorStandIn } from '../../manager/vmm/cloud-hypervisor/stand-in.js';

describe('a manifest of a chassis for Cloud Hypervisor', () => {
  const folder = temporaryFolders();
  let path: string;
  let client: ChassisClient;
  let daemon: DaemonProcess;
  let vmm: CloudHypervisorStandIn;

  beforeEach(async () => {
    path = folder();
    const directory = join(path, 'state');
    client = new ChassisClient({ directory });
    vmm = new CloudHypervisorStandIn();
    vmm.connects = true;
    daemon = await DaemonProcess.start(directory);
  }, 60_000);
  afterEach(async () => {
    for (const { name } of await client.list()) await client.delete(name, { force: true });
    await vmm.stop();
    await daemon.stop();
  }, 60_000);

  function apply(text: string, prune = false): Promise<Applied> {
    const desired = loadManifests([{ file: 'a.yaml', directory: path, text }], { pathName: '/a.yaml' });
    return applyOnce(client, desired, {
      ...{ prune, force: false, dryRun: false, timeoutMs: 30_000 },
      ...{ onPlan: () => undefined, onDone: () => undefined },
    });
  }

  const dev = (rest: string) =>
    `name: lab\nchassis:\n  dev: {slots: 3, vmm: cloud-hypervisor, apiSocket: ch.sock${rest}}\n`;
  const filled = dev(', mounts: {m: {source: "mem:"}}, disks: {d: {source: mem:1M}}');

  it('is made, plugged into the VM that comes, as wanted the second time, and taken out again', async () => {
    const { done } = await apply(filled);
    expect(done.map(({ operation }) => operation)).toEqual([
      'create chassis dev',
      'attach m to dev',
      'add disk d to dev',
    ]);
    expect(await client.get('dev')).toMatchObject({ slots: 3, apiSocket: join(path, 'ch.sock') });
    await vmm.listen(join(path, 'ch.sock'));
    await expect.poll(() => [...vmm.devices.keys()], PATIENTLY).toHaveLength(2);
    expect(hasDrift((await apply(filled)).plan)).toBe(false);
    await apply(dev(', disks: {d: {source: mem:1M}}'), true);
    expect([...vmm.devices.keys()]).toEqual(['chassis-slot2-fn0']);
    expect(await client.get('dev')).toMatchObject({ mounts: [], disks: [{ name: 'd', state: 'plugged' }] });
  });

  it('is printed such that it does nothing where it is applied, with its socket or without', async () => {
    await apply(filled);
    await client.create('own', { vmm: 'cloud-hypervisor' });
    const printed = printManifest(await client.list());
    expect(printed).toContain(`vmm: cloud-hypervisor\n    apiSocket: ${join(path, 'ch.sock')}\n`);
    expect(printed).toContain('  own:\n    slots: 8\n    vmm: cloud-hypervisor\n');
    expect((await apply(`name: lab\n${printed}`)).done).toEqual([]);
  });

  it('is refused before anything is done where the chassis is for another VMM, or driven elsewhere', async () => {
    await apply(filled);
    await client.create('other');
    const text = `name: lab\nchassis: {dev: {apiSocket: b.sock, vmm: cloud-hypervisor}, other: {vmm: cloud-hypervisor, mounts: {x: {source: "mem:"}}}}\n`;
    const refused = apply(text);
    await expect(refused).rejects.toMatchObject(
      refusal('PLAN_BLOCKED', /other is for qemu, which cannot be changed while it is there/),
    );
    await expect(refused).rejects.toThrow(`dev is driven at ${join(path, 'ch.sock')}, which cannot`);
    expect((await client.get('other')).mounts).toEqual([]);
    expect(
      await apply('name: lab\nchassis: {dev: {vmm: qemu}}\n').catch((error: unknown) => error),
    ).toMatchObject({
      suggestion: expect.stringContaining('write vmm: cloud-hypervisor') as string,
    });
  });
});
