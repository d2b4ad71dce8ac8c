/**
 * The routes of the daemon's API: the one table that the server serves by, the client calls by, and the OpenAPI document is made of. What has
 * a body takes JSON; what is refused is answered with ErrorBody and one of the route's codes, or of those that any route may answer.
 */
import { Type, type Static, type TObject, type TSchema } from '@sinclair/typebox';
import {
  AddCardRequest,
  AddDiskRequest,
  API_PREFIX,
  AttachRequest,
  AuditPage,
  AuditQuery,
  Captured,
  CaptureRequest,
  Card,
  Chassis,
  CreateChassisRequest,
  Deleted,
  DeleteChassisQuery,
  Detached,
  DetachQuery,
  Disk,
  Event,
  EventsQuery,
  ExecInput,
  ExecPage,
  ExecRequest,
  ExecSignal,
  GuestSetup,
  GuestSetupQuery,
  Health,
  Mount,
  Plan,
  PlanRequest,
  PolicyChange,
  PolicyView,
  QemuArgs,
  QemuArgsRequest,
  RemoveCardQuery,
  RemoveDiskQuery,
  ResizeDiskRequest,
  RestoreRequest,
  ReviewPage,
  ReviewRequest,
  Saved,
  SaveRequest,
  SetLinkRequest,
  TopologyNode,
  Upgraded,
  type ErrorCode,
} from './api.js';

export interface Route {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** As OpenAPI writes it, parameters in braces. */
  readonly path: string;
  readonly summary: string;
  /** What else a caller has to know. */
  readonly description?: string;
  readonly query?: TObject;
  /** Headers that it looks at, in place of parameters of its query: names of those by names of headers. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: TSchema;
  readonly answer: TSchema;
  /** Of the answer; JSON without it. */
  readonly type?: string;
  /** What it may be refused with, beside what goes for all (`codesOf`). */
  readonly errors?: readonly ErrorCode[];
}

/** A document of JSON on each line, as they come. */
export const JSON_LINES = 'application/x-ndjson';
/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): the `data` of each is a document of JSON. */
export const EVENT_STREAM = 'text/event-stream';
/** Prometheus's text format. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

const NOTHING = Type.Object({});

/** What plugging into a VM, and pulling out of it, may meet. */
const VMM_ERRORS = ['VMM_REFUSED', 'VMM_GONE', 'GUEST_TIMEOUT', 'DEVICE_PROCESS_LOST'] as const;
const PLUG_ERRORS = [
  ...VMM_ERRORS,
  ...(['VMM_UNSUITABLE', 'NO_SLOT_FREE', 'SLOT_TAKEN', 'SLOT_UNKNOWN', 'TAG_IN_USE'] as const),
  'STATE_UNWRITABLE',
] as const;
const MOUNT_ERRORS = ['NO_MOUNT', 'DEVICE_PROCESS_LOST'] as const;
const SOURCE_ERRORS = ['SOURCE_MISSING', 'SOURCE_UNREADABLE', 'SOURCE_IN_USE'] as const;

const CHASSIS = `${API_PREFIX}/chassis/{name}` as const;
const MOUNT = `${CHASSIS}/mounts/{tag}` as const;
const DISK = `${CHASSIS}/disks/{disk}` as const;
const COMMAND = `${CHASSIS}/exec/{command}` as const;
const CARD = `${CHASSIS}/cards/{card}` as const;

export const ROUTES = {
  health: {
    method: 'GET',
    path: `${API_PREFIX}/health`,
    summary: 'Say which daemon this is',
    answer: Health,
  },
  listChassis: {
    method: 'GET',
    path: `${API_PREFIX}/chassis`,
    summary: 'List all chassis, with what is plugged into them',
    answer: Type.Array(Chassis),
  },
  createChassis: {
    method: 'POST',
    path: `${API_PREFIX}/chassis`,
    summary: 'Make a chassis, and start its device process',
    body: CreateChassisRequest,
    answer: Chassis,
    errors: [
      'CHASSIS_EXISTS',
      'NO_SLOT_FREE',
      'STATE_UNWRITABLE',
      'DEVICE_PROCESS_LOST',
      'JOURNAL_UNREADABLE',
      'SANDBOX_UNAVAILABLE',
    ],
  },
  getChassis: {
    method: 'GET',
    path: CHASSIS,
    summary: 'Show a chassis, with what is plugged into it',
    answer: Chassis,
  },
  deleteChassis: {
    method: 'DELETE',
    path: CHASSIS,
    summary: 'Remove a chassis, and end its device process',
    query: DeleteChassisQuery,
    answer: Deleted,
    errors: ['CHASSIS_IN_USE', ...VMM_ERRORS],
  },
  attach: {
    method: 'POST',
    path: `${CHASSIS}/attach`,
    summary: 'Plug mounts in: all of them, or none',
    description:
      'Answered once the VM has them, or the guest has mounted them at their targets; at once where no VM is connected.',
    body: AttachRequest,
    answer: Type.Array(Mount),
    errors: [
      ...PLUG_ERRORS,
      ...SOURCE_ERRORS,
      ...([
        'SOURCE_NOT_DIRECTORY',
        'TAG_INVALID',
        'MOUNT_BUSY',
        'CHANGES_PENDING',
        'CHASSIS_IN_USE',
      ] as const),
      'GUEST_REFUSED',
    ],
  },
  listMounts: {
    method: 'GET',
    path: `${API_PREFIX}/mounts`,
    summary: 'List the mounts of all chassis',
    answer: Type.Array(Mount),
  },
  listMountsOfChassis: {
    method: 'GET',
    path: `${CHASSIS}/mounts`,
    summary: 'List the mounts of a chassis',
    answer: Type.Array(Mount),
  },
  detach: {
    method: 'DELETE',
    path: MOUNT,
    summary: 'Pull a mount out',
    description: 'Answered once the VM has let go.',
    query: DetachQuery,
    answer: Detached,
    errors: [
      ...VMM_ERRORS,
      ...(['NO_MOUNT', 'MOUNT_BUSY', 'MOUNT_PERMANENT', 'SLOT_SHARED', 'CHANGES_PENDING'] as const),
      ...(['STATE_UNWRITABLE', 'GUEST_REFUSED'] as const),
    ],
  },
  getPolicy: {
    method: 'GET',
    path: `${MOUNT}/policy`,
    summary: 'Show what the guest may do with a mount',
    answer: PolicyView,
    errors: MOUNT_ERRORS,
  },
  changePolicy: {
    method: 'PATCH',
    path: `${MOUNT}/policy`,
    summary: "Change a mount's policy",
    description: "Answered once the guest's next operation passes under the new one.",
    body: PolicyChange,
    answer: PolicyView,
    errors: [...MOUNT_ERRORS, 'STATE_UNWRITABLE'],
  },
  revoke: {
    method: 'POST',
    path: `${MOUNT}/revoke`,
    summary: 'Take a mount from its guest for good, and leave it plugged in',
    answer: PolicyView,
    errors: [...MOUNT_ERRORS, 'STATE_UNWRITABLE'],
  },
  audit: {
    method: 'GET',
    path: `${MOUNT}/audit`,
    summary: 'List what the guest was refused; with `waitMs`, wait for what is next',
    query: AuditQuery,
    answer: AuditPage,
    errors: MOUNT_ERRORS,
  },
  review: {
    method: 'POST',
    path: `${MOUNT}/review`,
    summary: 'List what the guest changed in an overlay, bring it to the source, or drop it',
    description:
      'Answers a page on each line, as they come, the last one with `done`. What goes wrong after the first page is the last line: ' +
      '{"error": ErrorBody}. Whoever closes the connection stops the review; what was done by then stays done.',
    body: ReviewRequest,
    answer: ReviewPage,
    type: JSON_LINES,
    errors: [...MOUNT_ERRORS, 'NO_CHANGE', 'REVIEW_STOPPED', 'CHASSIS_IN_USE', ...SOURCE_ERRORS],
  },
  listDisks: {
    method: 'GET',
    path: `${API_PREFIX}/disks`,
    summary: 'List the disks of all chassis',
    answer: Type.Array(Disk),
  },
  listDisksOfChassis: {
    method: 'GET',
    path: `${CHASSIS}/disks`,
    summary: 'List the disks of a chassis',
    answer: Type.Array(Disk),
  },
  addDisk: {
    method: 'POST',
    path: `${CHASSIS}/disks`,
    summary: 'Plug a disk in, in a slot of its own',
    description: 'Answered once the VM has it; at once where no VM is connected.',
    body: AddDiskRequest,
    answer: Disk,
    errors: [...PLUG_ERRORS, ...SOURCE_ERRORS, 'SOURCE_NOT_DISK', 'SIZE_INVALID'],
  },
  resizeDisk: {
    method: 'POST',
    path: `${DISK}/resize`,
    summary: "Change a disk's size, and tell the guest",
    body: ResizeDiskRequest,
    answer: Disk,
    errors: ['NO_DISK', 'SIZE_INVALID', 'STATE_UNWRITABLE', 'DEVICE_PROCESS_LOST'],
  },
  removeDisk: {
    method: 'DELETE',
    path: DISK,
    summary: 'Pull a disk out',
    description: 'Answered once the VM has let go.',
    query: RemoveDiskQuery,
    answer: NOTHING,
    errors: ['NO_DISK', 'STATE_UNWRITABLE', ...VMM_ERRORS],
  },
  listCards: {
    method: 'GET',
    path: `${API_PREFIX}/cards`,
    summary: 'List the network cards of all chassis',
    answer: Type.Array(Card),
  },
  listCardsOfChassis: {
    method: 'GET',
    path: `${CHASSIS}/cards`,
    summary: 'List the network cards of a chassis',
    answer: Type.Array(Card),
  },
  addCard: {
    method: 'POST',
    path: `${CHASSIS}/cards`,
    summary: 'Plug a network card in, in a slot of its own',
    description: 'Answered once the VM has it; at once where no VM is connected.',
    body: AddCardRequest,
    answer: Card,
    errors: [...PLUG_ERRORS, 'MAC_IN_USE', 'NETWORK_UNAVAILABLE'],
  },
  setLink: {
    method: 'POST',
    path: `${CARD}/link`,
    summary: "Pull a card's cable, or plug it in again",
    body: SetLinkRequest,
    answer: Card,
    errors: ['NO_CARD', 'STATE_UNWRITABLE', 'DEVICE_PROCESS_LOST'],
  },
  capture: {
    method: 'POST',
    path: `${CARD}/capture`,
    summary: 'Write what a card sends and receives to a file (pcapng)',
    description:
      'Answered once the capture has ended: DELETE of the same ends it, and so does the end of the connection that asked for it.',
    body: CaptureRequest,
    answer: Captured,
    errors: ['NO_CARD', 'SOURCE_UNREADABLE', 'SOURCE_IN_USE', 'DEVICE_PROCESS_LOST'],
  },
  endCapture: {
    method: 'DELETE',
    path: `${CARD}/capture`,
    summary: 'End the capture that is under way, if there is one',
    answer: NOTHING,
    errors: ['NO_CARD', 'DEVICE_PROCESS_LOST'],
  },
  removeCard: {
    method: 'DELETE',
    path: CARD,
    summary: 'Pull a network card out',
    description: 'Answered once the VM has let go.',
    query: RemoveCardQuery,
    answer: NOTHING,
    errors: ['NO_CARD', 'STATE_UNWRITABLE', ...VMM_ERRORS],
  },
  exec: {
    method: 'POST',
    path: `${CHASSIS}/exec`,
    summary: 'Run a command in the guest, where its helper does that',
    description:
      'Answers a line at once with the number of the command, then what it prints, as it comes, and its exit code with the last. What goes wrong ' +
      'after the first line is the last one: {"error": ErrorBody}. Whoever closes the connection ends the command.',
    body: ExecRequest,
    answer: ExecPage,
    type: JSON_LINES,
    errors: ['COMMANDS_OFF', 'COMMAND_LOST', 'GUEST_TIMEOUT', 'CHASSIS_IN_USE', 'DEVICE_PROCESS_LOST'],
  },
  execInput: {
    method: 'POST',
    path: `${COMMAND}/input`,
    summary: 'Give a command input, in order: answered once there was room for it',
    body: ExecInput,
    answer: NOTHING,
    errors: ['NO_COMMAND', 'DEVICE_PROCESS_LOST'],
  },
  execSignal: {
    method: 'POST',
    path: `${COMMAND}/signal`,
    summary: 'Send a signal to all processes of a command',
    body: ExecSignal,
    answer: NOTHING,
    errors: ['NO_COMMAND', 'DEVICE_PROCESS_LOST'],
  },
  guestSetup: {
    method: 'GET',
    path: `${API_PREFIX}/guest-setup`,
    summary: 'Say what a guest is to be given, so that it mounts what is wanted by itself',
    query: GuestSetupQuery,
    answer: GuestSetup,
  },
  plan: {
    method: 'POST',
    path: `${API_PREFIX}/plan`,
    summary: 'Say what mounts would need, and what would be left; nothing is changed',
    body: PlanRequest,
    answer: Plan,
    errors: ['NO_CHASSIS', 'JOURNAL_UNREADABLE', 'NO_SLOT_FREE'],
  },
  tree: {
    method: 'GET',
    path: `${CHASSIS}/tree`,
    summary: 'Show the hierarchy of a chassis, with what sits where',
    answer: TopologyNode,
  },
  restart: {
    method: 'POST',
    path: `${CHASSIS}/restart`,
    summary: 'Start a lost device process over',
    answer: Chassis,
    errors: ['DEVICE_PROCESS_LOST', 'SANDBOX_UNAVAILABLE', 'STATE_UNWRITABLE'],
  },
  upgrade: {
    method: 'POST',
    path: `${CHASSIS}/upgrade`,
    summary: 'Have a new process of the installed version go on with all functions',
    answer: Upgraded,
    errors: ['UPGRADE_REFUSED', 'DEVICE_PROCESS_LOST', 'SANDBOX_UNAVAILABLE'],
  },
  save: {
    method: 'POST',
    path: `${CHASSIS}/save`,
    summary: 'Write a chassis whose VM is paused, or off, to a file',
    body: SaveRequest,
    answer: Saved,
    errors: ['SAVE_REFUSED', 'STATE_UNWRITABLE', 'DEVICE_PROCESS_LOST'],
  },
  restore: {
    method: 'POST',
    path: `${API_PREFIX}/restore`,
    summary: 'Make a chassis of what was saved of one',
    description: 'All of it, or nothing: what is in the way is named.',
    body: RestoreRequest,
    answer: Chassis,
    errors: [
      ...(['RESTORE_REFUSED', 'SAVED_STATE_INVALID', 'CHASSIS_EXISTS', 'SOURCE_MISSING'] as const),
      ...(['STATE_UNWRITABLE', 'DEVICE_PROCESS_LOST', 'JOURNAL_UNREADABLE'] as const),
    ],
  },
  qemuArgs: {
    method: 'POST',
    path: `${CHASSIS}/qemu-args`,
    summary: 'Say with which arguments a QEMU is wired to a chassis',
    body: QemuArgsRequest,
    answer: QemuArgs,
    errors: ['VMM_UNSUITABLE'],
  },
  shutdown: {
    method: 'POST',
    path: `${API_PREFIX}/shutdown`,
    summary: 'Ask the daemon to stop; it answers before it does',
    answer: NOTHING,
  },
  events: {
    method: 'GET',
    path: `${API_PREFIX}/events`,
    summary: 'Follow what happens: server-sent events',
    description:
      'Answered with a comment at once: what happens after that is told. Each event has its id as `id`, and all of it in JSON as `data`. Who comes back ' +
      'with the id of the last one, in `since` or, as browsers do it, in the header `Last-Event-ID`, is told what came since, or that there is a gap.',
    query: EventsQuery,
    headers: { 'Last-Event-ID': 'since' },
    answer: Event,
    type: EVENT_STREAM,
  },
  metrics: {
    method: 'GET',
    path: '/metrics',
    summary: "Count what crossed all devices, in Prometheus's text format",
    answer: Type.String(),
    type: METRICS_TYPE,
  },
  openapi: {
    method: 'GET',
    path: '/openapi.json',
    summary: 'Describe this API: an OpenAPI 3.1 document',
    answer: Type.Object({ openapi: Type.String() }),
  },
} as const satisfies Record<string, Route>;

export type Operation = keyof typeof ROUTES;
type RouteOf<K extends Operation> = (typeof ROUTES)[K];

type ParameterNames<Path> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? Name | ParameterNames<Rest>
  : never;
/** The parameters in its path. */
export type Parameters<K extends Operation> = Record<ParameterNames<RouteOf<K>['path']>, string>;
export type Query<K extends Operation> =
  RouteOf<K> extends { readonly query: infer Q extends TSchema } ? Static<Q> : undefined;
export type Body<K extends Operation> =
  RouteOf<K> extends { readonly body: infer B extends TSchema } ? Static<B> : undefined;
/** Of JSON lines and server-sent events: that of each. */
export type AnswerOf<K extends Operation> = Static<RouteOf<K>['answer']>;

/** The names of the parameters in its path. */
export function parametersOf({ path }: Route): string[] {
  return Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name);
}

/** All that it may be refused with. */
export function codesOf(route: Route): ErrorCode[] {
  const codes = new Set<ErrorCode>(['BAD_REQUEST', ...(route.errors ?? []), 'INTERNAL', 'NO_DAEMON']);
  if (parametersOf(route).includes('name')) codes.add('NO_CHASSIS').add('JOURNAL_UNREADABLE');
  return [...codes];
}
