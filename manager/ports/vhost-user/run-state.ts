/** What the rings and the memory of a back-end are at one moment, and how another process goes on from that. */
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import { GivenDescriptors, SavedDescriptors } from '../../../devices/state-descriptors.js';
import { closeFd } from '../../../host/index.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import type { DeviceRun } from './device-run.js';
import { deviceStateOf, giveDeviceState } from './device-state.js';
import type { KeptMemory, KeptSession } from './kept-state.js';
import type { MemoryTable } from './memory-table.js';
import type { BackEndState, VringState } from './port-state.js';
import type { Vring } from './vring.js';

type RunState = Omit<BackEndState, 'protocolFeatures' | 'status' | 'channel'>;

/** For a run that is paused. @throws what `saveState` of the device throws, or where a ring cannot be told */
export function saveRun(
  run: DeviceRun,
  table: MemoryTable,
  device: VirtioDevice,
  parcel: OutgoingParcel,
): RunState {
  const { session, faulted } = run;
  return {
    ...saveSession(run, parcel),
    memory: saveMemory(table, parcel),
    works: session !== undefined && !faulted,
    device: saveDevice(device, parcel),
    vrings: run.vrings.map((vring) => saveVring(run, vring, parcel)),
  };
}

/** What is neither memory nor rings. */
export function saveSession(
  run: DeviceRun,
  parcel: OutgoingParcel,
): Omit<KeptSession, 'protocolFeatures' | 'status' | 'channel'> {
  const { faulted, features, logging } = run;
  const { place, refused, eventFd } = logging.log;
  return {
    features: features === undefined ? null : String(features),
    enabledFromStart: run.enabledFromStart,
    faulted,
    log: {
      all: logging.all,
      refused,
      place: place === undefined ? null : { ...place, fd: parcel.addFd(place.fd) },
      eventFd: parcel.addFdIfAny(eventFd),
    },
    inflight: saveInflight(run, parcel),
  };
}

export function saveMemory(table: MemoryTable, parcel: OutgoingParcel): RunState['memory'] {
  return table.regions.map((region) => ({ ...region, fd: parcel.addFd(region.fd) }));
}

function saveInflight({ inflight }: DeviceRun, parcel: OutgoingParcel): RunState['inflight'] {
  if (inflight.frontEnd === undefined) return null;
  const { fd, sizeBytes, offset, queues, queueSize } = inflight.frontEnd;
  return { fd: parcel.addFd(fd), sizeBytes, offset, queues, queueSize };
}

function saveDevice(device: VirtioDevice, parcel: OutgoingParcel): RunState['device'] {
  const descriptors = new SavedDescriptors();
  const bytes = deviceStateOf(device, descriptors);
  return { bytes: parcel.addBytes(bytes), fds: descriptors.fds.map((fd) => parcel.addFd(fd)) };
}

/** A fault has ended all rings: what was under way in them is the driver's to take back. */
function saveVring(run: DeviceRun, vring: Vring, parcel: OutgoingParcel): VringState {
  const saved = vring.save(parcel);
  if (run.faulted) return { ...saved, base: run.baseOf(vring), ring: null };
  const ring = vring.ring?.save() ?? null;
  if (typeof ring === 'string') throw new Error(`queue ${vring.index}: ${ring}`);
  return { ...saved, ring: ring && (structuredClone(ring) as VringState['ring']) };
}

/** Goes on, once the run is resumed, where another process was. Answers why not. @throws ParcelError */
export async function restoreRun(
  state: RunState,
  run: DeviceRun,
  table: MemoryTable,
  device: VirtioDevice,
  parcel: IncomingParcel,
): Promise<string | undefined> {
  const problem = restoreMemory(state, table, parcel) ?? restoreSession(state, run, parcel);
  if (problem !== undefined) return problem;
  if (state.vrings.length !== run.vrings.length) return 'it has another number of queues';
  for (const [index, vring] of run.vrings.entries()) {
    if (!vring.restore(state.vrings[index], parcel)) return `queue ${index} is larger than it can be here`;
  }
  const refused = await restoreDevice(device, state.device, parcel);
  if (refused !== undefined) return refused;
  if (state.works) return run.takeOver(runningRings(state, run));
  if (state.faulted) await restoreFault(run, device);
  return undefined;
}

/** What it knows of its driver is void, as it is by the reset that ends a fault. */
export async function restoreFault(run: DeviceRun, device: VirtioDevice): Promise<void> {
  await device.reset();
  run.takeOverFault();
}

/** What is neither memory, which comes before, nor rings. Answers why not. @throws ParcelError */
export function restoreSession(
  state: Omit<KeptSession, 'protocolFeatures' | 'status' | 'channel'>,
  run: DeviceRun,
  parcel: IncomingParcel,
): string | undefined {
  run.features = state.features === null ? undefined : BigInt(state.features);
  run.enabledFromStart = state.enabledFromStart;
  const problem = restoreLog(state, run, parcel);
  if (problem !== undefined) return problem;
  return restoreInflight(state, run, parcel) ? undefined : 'the area of requests under way cannot be mapped';
}

/** Answers why not. @throws ParcelError */
export function restoreMemory(
  { memory }: KeptMemory,
  table: MemoryTable,
  parcel: IncomingParcel,
): string | undefined {
  const fds = parcel.takeFds(memory.map(({ fd }) => fd));
  const error = table.replace(memory, fds, false);
  for (const fd of fds) closeFd(fd);
  return error === 0 ? undefined : `the memory of its VMM cannot be mapped: errno ${-error}`;
}

function restoreLog(
  { log: state }: Pick<RunState, 'log'>,
  { logging }: DeviceRun,
  parcel: IncomingParcel,
): string | undefined {
  const { log } = logging;
  let error = 0;
  if (state.place !== null) {
    const fd = parcel.takeFd(state.place.fd);
    error = log.replace(fd, state.place.sizeBytes, state.place.offset);
    closeFd(fd);
  }
  if (error === 0 && state.eventFd !== null) error = log.setEventFd(parcel.takeFd(state.eventFd));
  if (error === 0) error = logging.setAll(state.all);
  log.refused = state.refused;
  return error === 0 ? undefined : `the log of dirty pages cannot be gone on with: errno ${-error}`;
}

function restoreInflight(
  { inflight }: Pick<RunState, 'inflight'>,
  run: DeviceRun,
  parcel: IncomingParcel,
): boolean {
  if (inflight === null) return true;
  const fd = parcel.takeFd(inflight.fd);
  const error = run.inflight.setFrontEnd(fd, inflight);
  closeFd(fd);
  return error === 0;
}

async function restoreDevice(
  device: VirtioDevice,
  state: RunState['device'],
  parcel: IncomingParcel,
): Promise<string | undefined> {
  const descriptors = new GivenDescriptors(parcel.takeFds(state.fds));
  try {
    return await giveDeviceState(device, parcel.bytes(state.bytes), descriptors);
  } finally {
    for (const fd of descriptors.left) closeFd(fd);
  }
}

/** Those that ran, with their configs saying where they go on. */
function runningRings(state: RunState, run: DeviceRun): Vring[] {
  return run.vrings.filter(({ config }, index) => {
    const { ring } = state.vrings[index];
    if (ring === null) return false;
    config.start = ring;
    config.chains = ring.chains;
    return true;
  });
}
