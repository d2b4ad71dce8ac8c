/** What a chassis is made of, and how its parts are joined. */
import { ChassisModel, type DeviceRecord } from './chassis/chassis.js';
import { Commands } from './commands.js';
import type { ChassisError, Chassis, EventBody } from './control/api.js';
import type { ChassisPaths } from './control/state-directory.js';
import { Departures } from './departures.js';
import { DeviceFunctions } from './device-functions.js';
import type { DeviceHost, DeviceHostHooks } from './device-process/supervisor.js';
import { Disks } from './disks.js';
import { ChassisChanges } from './events/chassis-changes.js';
import { FunctionMounts } from './function-mounts.js';
import type { Journal } from './journal.js';
import { fillModel, type JournalDocument, type JournalFacts } from './journal-format.js';
import type { Log } from './logging/log.js';
import { MountPolicies } from './mount-policies.js';
import { MountViews } from './mount-views.js';
import { Networks } from './networks.js';
import { Overlays } from './overlays.js';
import { OverlayStore } from './overlay-store.js';
import { Plugging } from './plugging.js';
import { QueueMounts } from './queue-mounts.js';
import { SavedChassisFiles } from './saved-state/saved-chassis.js';
import type { CardPorts } from './switches.js';
import { TreeMounts } from './tree-mounts.js';
import { VmSlots } from './vm-slots.js';
import type { VmmEndpoint } from './vmm/driver.js';
import { VMM_KINDS } from './vmm/kinds.js';

export interface ControllerOptions {
  readonly name: string;
  readonly slotCount: number;
  readonly managedBy?: string;
  readonly paths: ChassisPaths;
  /** What drives its VM; QEMU at the socket in the chassis's folder when absent. */
  readonly vmm?: VmmEndpoint | undefined;
  /** The directory for changes that outlive their mounts. */
  readonly overlays: string;
  readonly startDevices: (hooks: DeviceHostHooks) => Promise<DeviceHost>;
  readonly findDevices: (hooks: DeviceHostHooks) => Promise<DeviceHost | undefined>;
  readonly cardPorts: CardPorts;
  readonly journal: Journal;
  /** What an earlier daemon noted of the chassis. */
  readonly document?: JournalDocument | undefined;
  /** Takes what happens. */
  readonly emit: (event: EventBody) => void;
  readonly log: Log;
}

/** What the parts ask of the chassis as a whole. */
export interface ChassisHooks {
  /** Runs a job once those before it have ended. */
  readonly exclusively: <T>(job: () => Promise<T>) => Promise<T>;
  /** Notes how the chassis is now, for the next daemon. @throws ChassisError STATE_UNWRITABLE */
  readonly record: () => void;
  readonly facts: () => JournalFacts;
  /** Starts a lost device process over. Only inside the queue. */
  readonly revive: () => Promise<void>;
  /** As `revive`. @throws ChassisError also where a VM is there that cannot be used */
  readonly ready: () => Promise<void>;
  readonly onLost: (reason: string) => void;
  readonly processState: () => Omit<Chassis['deviceProcess'], 'restarts'>;
  /** Why the VM that is there cannot be used. */
  readonly vmmProblem: () => ChassisError | undefined;
}

export type ChassisParts = ReturnType<typeof assembleChassis>;

/** @throws Error where the document contradicts itself */
export function assembleChassis(
  options: ControllerOptions & { readonly vmm: VmmEndpoint },
  hooks: ChassisHooks,
) {
  const { name: chassis, paths, cardPorts, document, emit, log, vmm } = options;
  const { exclusively, record, revive } = hooks;
  const { rules, expected } = VMM_KINDS[vmm.type];
  const model = new ChassisModel(options.slotCount, rules);
  if (document) fillModel(model, document);
  const devices: DeviceFunctions = new DeviceFunctions({
    ...{ chassis, paths, cardPorts, log },
    ...{ startDevices: options.startDevices, findDevices: options.findDevices },
    onLost: hooks.onLost,
    onConnected: () => slots.connected(),
    onConnection: (tag) => changes.changed(tag),
    onHelper: () => changes.changed(),
    onChild: ({ name: tag, state, detail }) =>
      emit({ type: 'mount.inGuest', tag, state, ...(detail !== '' && { reason: detail }) }),
    children: () => model.children.values(),
    seats: () => model.seats.values(),
  });
  const slots = new VmSlots({ ...{ model, devices, paths, vmm, record, log }, expected: expected() });
  const changes = new ChassisChanges({
    ...{ model, emit },
    sight: {
      isConnected: (device) => devices.isConnected(device),
      reason: (tag) => slots.reasons.get(tag),
    },
    look: () => ({
      ...{ process: hooks.processState(), vmm: slots.driver?.vmm },
      ...{ vmmProblem: hooks.vmmProblem()?.message, helper: devices.hasHelper },
    }),
  });
  const common = { chassis, model, devices, slots };
  const plugging = new Plugging({ ...common, record });
  const plugIn = (added: readonly DeviceRecord[], timeoutMs: number) => plugging.plugIn(added, timeoutMs);
  const departures = new Departures({ ...common, vmm });
  const alone = {
    ...{ ...common, departures, exclusively, ready: hooks.ready },
    plugIn: (device: DeviceRecord, timeoutMs: number) => plugIn([device], timeoutMs),
  };
  const overlays = new Overlays({
    ...{ model, devices, exclusively, revive, log },
    store: new OverlayStore(options.overlays),
  });
  return {
    ...{ model, devices, slots, changes, plugging, departures, overlays },
    views: new MountViews(common),
    commands: new Commands(common),
    disks: new Disks({ ...alone, emit }),
    networks: new Networks(alone),
    policies: new MountPolicies({ ...common, exclusively, record }),
    trees: new TreeMounts({ ...common, plugIn, record, exclusively }),
    queueMounts: new QueueMounts({ ...common, plugIn, firstTag: document?.firstQueueTag }),
    functionMounts: new FunctionMounts({ ...common, plugIn, record, log }),
    saved: new SavedChassisFiles({ ...common, overlays, paths, facts: hooks.facts }),
  };
}
