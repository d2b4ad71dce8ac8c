/**
 * The parts of Cloud Hypervisor's published API (`cloud-hypervisor.yaml`, version 0.3.0, of release 53) that a plugged device crosses, written
 * down by hand. Here what is not in them is refused, which the VMM itself lets pass.
 */
import { Type, type TSchema } from '@sinclair/typebox';

const STRICT = { additionalProperties: false };

/** What every device has. `UserDeviceConfig` has `id`; `VmAddUserDevice`, which says the same otherwise, leaves it out. */
const PCI = {
  id: Type.Optional(Type.String()),
  pci_segment: Type.Optional(Type.Integer({ minimum: 0, maximum: 0x7fff })),
  pci_device_id: Type.Optional(Type.Integer({ minimum: 0, maximum: 255 })),
};

const UserDeviceConfig = Type.Object({ socket: Type.String(), ...PCI }, STRICT);

const DiskConfig = Type.Object(
  {
    ...PCI,
    path: Type.Optional(Type.String()),
    readonly: Type.Optional(Type.Boolean()),
    num_queues: Type.Optional(Type.Integer()),
    queue_size: Type.Optional(Type.Integer()),
    vhost_user: Type.Optional(Type.Boolean()),
    vhost_socket: Type.Optional(Type.String()),
    serial: Type.Optional(Type.String()),
  },
  STRICT,
);

const NetConfig = Type.Object(
  {
    ...PCI,
    mac: Type.Optional(Type.String()),
    mtu: Type.Optional(Type.Integer()),
    num_queues: Type.Optional(Type.Integer()),
    queue_size: Type.Optional(Type.Integer()),
    vhost_user: Type.Optional(Type.Boolean()),
    vhost_socket: Type.Optional(Type.String()),
    vhost_mode: Type.Optional(Type.Union([Type.Literal('Client'), Type.Literal('Server')])),
  },
  STRICT,
);

const VmRemoveDevice = Type.Object({ id: Type.Optional(Type.String()) }, STRICT);

/** By route, of those that take a body. */
export const REQUEST_BODIES: Readonly<Record<string, TSchema>> = {
  'vm.add-user-device': UserDeviceConfig,
  'vm.add-disk': DiskConfig,
  'vm.add-net': NetConfig,
  'vm.remove-device': VmRemoveDevice,
};
