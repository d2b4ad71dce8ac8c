/**
 * What `GET /metrics` tells. Counters begin at 0 with their function, or their device process, as Prometheus expects of any counter. What
 * carries other mounts (`kind="tree"`, `kind="queues"`) counts what they count as well.
 */
import type { Card, Chassis, Disk, FunctionCounters, Health, LatencyHistogram, Mount } from './api.js';
import { Exposition, type Family, type HistogramSample, type Labels } from './exposition.js';
import type { Observed } from './service.js';

const counter = (help: string): Family => ({ type: 'counter', help });
const gauge = (help: string): Family => ({ type: 'gauge', help });

export const FAMILIES = {
  chassis_daemon_info: gauge('The daemon, with its version; always 1.'),
  chassis_device_process_answers: gauge(
    '1, or 0 where nothing else is told of the chassis, because its device process does not answer in time.',
  ),
  chassis_slots: gauge('Hot-plug slots of the chassis.'),
  chassis_slots_free: gauge('Hot-plug slots that are empty and can be used.'),
  chassis_device_process_state: gauge('1 for the state that the device process is in, 0 for the others.'),
  chassis_device_process_restarts_total: counter(
    'Times that the device process died by itself and was started again, since the daemon was started.',
  ),
  chassis_vmm_info: gauge('The VMM that the daemon is connected to, with its version; always 1.'),
  chassis_kept_overlays: gauge('Overlays whose changes are kept though no mount shows them.'),
  chassis_device_info: gauge('A mount, disk or network card, with where it is and its state; always 1.'),
  chassis_requests_total: counter('Requests of the guest that were answered; of a card, buffers for frames.'),
  chassis_kicks_total: counter('Doorbells of the guest that arrived.'),
  chassis_wakes_total: counter('Kicks that found a queue asleep.'),
  chassis_spurious_wakes_total: counter('Kicks that found a queue asleep, and nothing to do.'),
  chassis_polls_total: counter('Looks at a queue without a kick.'),
  chassis_interrupts_total: counter('Interrupts to the guest.'),
  chassis_read_bytes_total: counter('Bytes that the guest read.'),
  chassis_written_bytes_total: counter('Bytes that the guest wrote.'),
  chassis_request_duration_seconds: {
    type: 'histogram',
    help: 'How long requests took that were timed, one in 16 at random: read, write, metadata, flush.',
  },
  chassis_queues: gauge('Queues of the function.'),
  chassis_fids: gauge('Files and directories of a mount that the guest knows.'),
  chassis_open_files: gauge('Files of a mount of the tree that the guest has open.'),
  chassis_watched_directories: gauge('Directories of a mount that are watched for changes on the host.'),
  chassis_disk_size_bytes: gauge('Size of a disk as the guest sees it.'),
  chassis_disk_trouble: gauge('1 where something is wrong with what a disk is kept in.'),
  chassis_card_carrier: gauge("1 where a card's cable is in and there is somebody at the other end."),
  chassis_card_transmit_frames_total: counter('Frames that the guest sent.'),
  chassis_card_transmit_bytes_total: counter('Bytes of the frames that the guest sent.'),
  chassis_card_transmit_discarded_frames_total: counter('Frames of the guest that went nowhere, by reason.'),
  chassis_card_receive_frames_total: counter('Frames that the guest received.'),
  chassis_card_receive_bytes_total: counter('Bytes of the frames that the guest received.'),
  chassis_card_receive_discarded_frames_total: counter('Frames that the guest did not get, by reason.'),
  chassis_switch_port_transmit_frames_total: counter("Frames that a switch took from a card's port."),
  chassis_switch_port_receive_frames_total: counter('Frames for a card, those included that it lost.'),
  chassis_switch_port_discarded_frames_total: counter('Frames that a switch did not pass on, by reason.'),
} as const satisfies Record<string, Family>;

type Metrics = Exposition<keyof typeof FAMILIES>;

const PROCESS_STATES = ['running', 'recovering', 'lost'] as const;

export function metricsText({ version }: Health, { chassis: all, silent }: Observed): string {
  const metrics: Metrics = new Exposition(FAMILIES);
  metrics.add('chassis_daemon_info', { version }, 1);
  for (const chassis of silent) metrics.add('chassis_device_process_answers', { chassis }, 0);
  for (const chassis of all) {
    addChassis(metrics, chassis);
    for (const mount of chassis.mounts) addMount(metrics, mount);
    for (const disk of chassis.disks) addDisk(metrics, disk);
    for (const card of chassis.cards) addCard(metrics, card);
  }
  return metrics.text();
}

function addChassis(metrics: Metrics, { name, slots, slotsFree, deviceProcess, vmm, kept }: Chassis): void {
  const labels = { chassis: name };
  metrics.add('chassis_device_process_answers', labels, 1);
  metrics.add('chassis_slots', labels, slots);
  metrics.add('chassis_slots_free', labels, slotsFree);
  for (const state of PROCESS_STATES)
    metrics.add('chassis_device_process_state', { ...labels, state }, state === deviceProcess.state);
  metrics.add('chassis_device_process_restarts_total', labels, deviceProcess.restarts);
  if (vmm) metrics.add('chassis_vmm_info', { ...labels, type: vmm.type, version: vmm.version }, 1);
  metrics.add('chassis_kept_overlays', labels, kept.length);
}

function addMount(metrics: Metrics, mount: Mount): void {
  const { tag: name, source, via, counters, held, watching } = mount;
  const kind = source?.type === 'tree' || source?.type === 'queues' ? source.type : 'mount';
  const labels = addDevice(metrics, { ...mount, name, kind, via });
  addCounters(metrics, labels, counters);
  metrics.add('chassis_fids', labels, held?.fids ?? counters?.fids);
  metrics.add('chassis_open_files', labels, held?.openFiles);
  metrics.add('chassis_watched_directories', labels, watching?.directories);
}

function addDisk(metrics: Metrics, disk: Disk): void {
  const labels = addDevice(metrics, { ...disk, kind: 'disk' });
  addCounters(metrics, labels, disk.counters);
  metrics.add('chassis_disk_size_bytes', labels, disk.sizeBytes);
  metrics.add('chassis_disk_trouble', labels, disk.trouble !== undefined);
}

function addCard(metrics: Metrics, card: Card): void {
  const labels = addDevice(metrics, { ...card, kind: 'card' });
  addCounters(metrics, labels, card.counters);
  metrics.add('chassis_card_carrier', labels, card.carrier);
  addStatistics(metrics, labels, card.statistics);
  addSwitchPort(metrics, labels, card.switchPort);
}

interface Device {
  readonly chassis: string;
  readonly kind: 'mount' | 'tree' | 'queues' | 'disk' | 'card';
  readonly name: string;
  readonly port?: string;
  readonly via?: string;
  readonly slot: number;
  readonly function: number;
  readonly state: string;
}

/** Answers the labels that all of its samples have. */
function addDevice(metrics: Metrics, device: Device): Labels {
  const { chassis, kind, name, port, via = 'function', slot, function: fn, state } = device;
  const labels = { chassis, kind, name, port };
  metrics.add('chassis_device_info', { ...labels, via, slot, function: fn, state }, 1);
  return labels;
}

/** What only the whole counts is not counted of every device. */
type Counters = Omit<FunctionCounters, 'fids' | 'bytesRead' | 'bytesWritten'> & Partial<FunctionCounters>;

function addCounters(metrics: Metrics, labels: Labels, counters: Counters | undefined): void {
  if (!counters) return;
  metrics.add('chassis_requests_total', labels, counters.requests);
  metrics.add('chassis_kicks_total', labels, counters.kicks);
  metrics.add('chassis_wakes_total', labels, counters.wakes);
  metrics.add('chassis_spurious_wakes_total', labels, counters.spuriousWakes);
  metrics.add('chassis_polls_total', labels, counters.polls);
  metrics.add('chassis_interrupts_total', labels, counters.interrupts);
  metrics.add('chassis_read_bytes_total', labels, counters.bytesRead);
  metrics.add('chassis_written_bytes_total', labels, counters.bytesWritten);
  metrics.add('chassis_queues', labels, counters.queues.length);
  for (const [operation, histogram] of Object.entries(counters.latencies ?? {}))
    metrics.addHistogram('chassis_request_duration_seconds', { ...labels, operation }, inSeconds(histogram));
}

/** Buckets of Prometheus, of every mount and disk the same: powers of two from 1 µs to 17 s, in which the device's own ones are whole. */
const ENDS_US = Array.from({ length: 25 }, (_, i) => 2 ** i * 1.024);
const US_PER_SECOND = 1e6;

function inSeconds({ endsUs, counts, sumUs }: LatencyHistogram): HistogramSample {
  const inBucket = ENDS_US.map(() => 0).concat(0);
  for (const [i, endUs] of endsUs.entries()) {
    const bucket = ENDS_US.findIndex((end) => endUs <= end);
    inBucket[bucket < 0 ? ENDS_US.length : bucket] += counts[i];
  }
  return { ends: ENDS_US.map((us) => us / US_PER_SECOND), counts: inBucket, sum: sumUs / US_PER_SECOND };
}

function addStatistics(metrics: Metrics, labels: Labels, counted: Card['statistics']): void {
  if (!counted) return;
  const sent = (reason: string, frames: number) =>
    metrics.add('chassis_card_transmit_discarded_frames_total', { ...labels, reason }, frames);
  const received = (reason: string, frames: number) =>
    metrics.add('chassis_card_receive_discarded_frames_total', { ...labels, reason }, frames);
  metrics.add('chassis_card_transmit_frames_total', labels, counted.txFrames);
  metrics.add('chassis_card_transmit_bytes_total', labels, counted.txBytes);
  sent('invalid', counted.txInvalid);
  sent('dropped', counted.txDropped);
  metrics.add('chassis_card_receive_frames_total', labels, counted.rxFrames);
  metrics.add('chassis_card_receive_bytes_total', labels, counted.rxBytes);
  received('filtered', counted.rxFiltered);
  received('dropped', counted.rxDropped);
  received('too_long', counted.rxTooLong);
}

function addSwitchPort(metrics: Metrics, labels: Labels, counted: Card['switchPort']): void {
  if (!counted) return;
  const discarded = (reason: string, frames: number) =>
    metrics.add('chassis_switch_port_discarded_frames_total', { ...labels, reason }, frames);
  metrics.add('chassis_switch_port_transmit_frames_total', labels, counted.sent);
  metrics.add('chassis_switch_port_receive_frames_total', labels, counted.received);
  discarded('refused', counted.refused);
  discarded('storm', counted.storm);
  discarded('dropped', counted.dropped);
}
