import { FakeQmp, refused, type Answer, type Command } from './fake-qmp.js';

/** As much of QEMU as the driver asks for: devices with ids, a memory backend, and a guest that lets slots go. */
export class FakeQemu extends FakeQmp {
  readonly peripherals = new Map<string, string>();
  /** Parent buses of devices that were not put in by the driver, by QOM path. */
  readonly parentBuses = new Map<string, string>();
  /** Ids of the chardevs that were added. */
  readonly chardevs = new Set<string>();
  /** Likewise; each holds the chardev of its id. */
  readonly netdevs = new Set<string>();
  memory: { id: string; share: boolean }[] = [{ id: 'chassis-mem', share: true }];
  hasVfioUser = true;
  /** What the guest does when asked for a slot. */
  guest: 'agrees' | 'refuses' | 'ignores' = 'agrees';
  /** Makes a device_add fail. */
  refuseAdd: (device: Record<string, unknown>) => Answer = () => undefined;

  constructor(slots: number) {
    super();
    for (let slot = 1; slot <= slots; slot++)
      this.peripherals.set(`chassis-slot${slot}`, 'child<pcie-root-port>');
    this.answer = (command) => this.perform(command);
  }

  /** Ids of our devices. */
  get devices(): string[] {
    return [...this.peripherals.keys()].filter((id) => id.includes('-fn'));
  }

  /** What was added and deleted, in order. */
  get changes(): string[] {
    return this.commands
      .filter(({ execute }) => execute.startsWith('device_') && execute !== 'device-list-properties')
      .map(({ execute, arguments: args }) => `${execute} ${String(args.id)}`);
  }

  /** The guest ejects a slot: all of its functions go. */
  eject(slot: number): void {
    for (const id of this.devices.filter((device) => device.startsWith(`chassis-slot${slot}-`))) {
      this.peripherals.delete(id);
      this.deleted(id);
    }
  }

  private perform({ execute, arguments: args }: Command): Answer {
    switch (execute) {
      case 'device-list-properties':
        return this.hasVfioUser
          ? { return: [] }
          : refused("Device 'vfio-user-pci' not found", 'DeviceNotFound');
      case 'query-memdev':
        return { return: this.memory };
      case 'qom-list':
        return { return: this.list(String(args.path)) };
      case 'qom-get':
        return this.parentBus(String(args.path));
      case 'device_add':
        return this.add(args);
      case 'chardev-add':
        return this.addChardev(String(args.id));
      case 'query-chardev':
        return {
          return: [...this.chardevs].map((label) => ({ label, filename: '', 'frontend-open': true })),
        };
      case 'chardev-remove':
        return this.removeChardev(String(args.id));
      case 'netdev_add':
        return this.addNetdev(String(args.id), String(args.chardev));
      case 'netdev_del':
        return this.netdevs.delete(String(args.id)) ? { return: {} } : refused('Device not found');
      case 'set_link':
        return this.peripherals.has(String(args.name)) ? { return: {} } : refused('Device not found');
      case 'device_del':
        return this.del(String(args.id));
      default:
        return refused(`The command ${execute} has not been found`, 'CommandNotFound');
    }
  }

  private addChardev(id: string): Answer {
    if (this.chardevs.has(id)) return refused(`Chardev with id '${id}' already exists`);
    this.chardevs.add(id);
    return { return: {} };
  }

  private addNetdev(id: string, chardev: string): Answer {
    if (!this.chardevs.has(chardev)) return refused(`chardev "${chardev}" not found`);
    this.netdevs.add(id);
    return { return: {} };
  }

  private removeChardev(id: string): Answer {
    if (this.peripherals.has(id) || this.netdevs.has(id)) return refused(`Chardev '${id}' is busy`);
    return this.chardevs.delete(id) ? { return: {} } : refused(`Chardev '${id}' not found`);
  }

  private list(path: string): { name: string; type: string }[] {
    const type = { name: 'type', type: 'string' };
    if (path === '/machine/peripheral')
      return [type, ...[...this.peripherals].map(([name, type]) => ({ name, type }))];
    const names = [...this.parentBuses.keys()].filter((key) => key.startsWith(`${path}/`));
    return [type, ...names.map((name) => ({ name: name.slice(path.length + 1), type: 'child<e1000>' }))];
  }

  private parentBus(path: string): Answer {
    const bus = this.parentBuses.get(path);
    return bus === undefined ? refused('Property not found') : { return: bus };
  }

  private add(device: Record<string, unknown>): Answer {
    const refusal = this.refuseAdd(device);
    if (refusal) return refusal;
    const id = String(device.id);
    if (this.peripherals.has(id)) return refused(`Duplicate device ID '${id}'`);
    if (device.chardev !== undefined && !this.chardevs.has(device.chardev as string))
      return refused(`Property 'chardev' can't find value '${device.chardev as string}'`);
    if (device.netdev !== undefined && !this.netdevs.has(device.netdev as string))
      return refused(`Property 'netdev' can't find value '${device.netdev as string}'`);
    this.peripherals.set(id, 'child<vfio-user-pci>');
    return { return: {} };
  }

  private del(id: string): Answer {
    if (!this.peripherals.has(id)) return refused(`Device '${id}' not found`, 'DeviceNotFound');
    const slot = Number(/slot(\d+)/.exec(id)?.[1]);
    const exposed = this.peripherals.has(`chassis-slot${slot}-fn0`);
    // Events come after the answer, as QEMU's do.
    setImmediate(() => {
      if (!exposed) {
        this.peripherals.delete(id);
        this.deleted(id);
      } else if (this.guest === 'agrees') this.eject(slot);
      else if (this.guest === 'refuses') this.event('DEVICE_UNPLUG_GUEST_ERROR', { device: id, path: '' });
    });
    return { return: {} };
  }
}
