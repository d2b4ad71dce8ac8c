/**
 * What the daemon and a device process say to each other: one JSON object a line, over a unix socket. The daemon asks, the
 * process answers by id and reports connections on its own.
 */
import { Type, type Static } from '@sinclair/typebox';
import { MUX_QUEUES_MAX } from '../../devices/9p/virtio-9p-mux.js';
import {
  CaptureRequest,
  CardStatistics,
  AuditQuery,
  ChildState,
  DiskSerial,
  DiskSource,
  ExecInput,
  ExecRequest,
  FunctionCounters,
  FunctionDriver,
  Mac,
  PasstNetwork,
  MountTerms,
  Owner,
  Policy,
  Port,
  ReviewRequest,
  Shown,
  Signal,
  Source,
  TapNetwork,
  Upper,
  Watching,
} from '../control/api.js';

/** A 9p device to make, and what it shows; without a source, no guest can mount it for now. */
export const NinePSpec = Type.Object({
  type: Type.Literal('9p'),
  tag: Type.String(),
  source: Type.Optional(Shown),
  ...MountTerms.properties,
});
export type NinePSpec = Static<typeof NinePSpec>;

/** A disk to make. */
export const DiskSpec = Type.Object({
  type: Type.Literal('disk'),
  source: DiskSource,
  readOnly: Type.Boolean(),
  overlay: Type.Boolean(),
  serial: DiskSerial,
  queues: Type.Integer(),
  /** The folder of the file that an overlay's changes are kept in; in memory without one. */
  overlayDirectory: Type.Optional(Type.String()),
  /** Of an overlay that has another size than what it is over. */
  overlayBytes: Type.Optional(Type.Integer()),
});
export type DiskSpec = Static<typeof DiskSpec>;

/** A network card to make, and what it is plugged into: of a switch, the socket of its port there. */
export const CardSpec = Type.Object({
  type: Type.Literal('card'),
  name: Type.String(),
  mac: Mac,
  mtu: Type.Optional(Type.Integer()),
  queuePairs: Type.Integer(),
  up: Type.Boolean(),
  peer: Type.Union([
    Type.Object({ type: Type.Literal('switch'), socketPath: Type.String() }),
    TapNetwork,
    PasstNetwork,
  ]),
});
export type CardSpec = Static<typeof CardSpec>;

export const DeviceSpec = Type.Union([NinePSpec, DiskSpec, CardSpec]);
export type DeviceSpec = Static<typeof DeviceSpec>;

export const DiskResize = Type.Object({
  function: Type.String(),
  sizeBytes: Type.Integer(),
  shrink: Type.Boolean(),
});
export type DiskResize = Static<typeof DiskResize>;

export const LinkChange = Type.Object({ function: Type.String(), up: Type.Boolean() });
export type LinkChange = Static<typeof LinkChange>;

export const CaptureOrder = Type.Object({ function: Type.String(), capture: CaptureRequest });
export type CaptureOrder = Static<typeof CaptureOrder>;

/** What a function is to show from now on; without a source, nothing. */
export const SourceChange = Type.Object({
  function: Type.String(),
  source: Type.Optional(Shown),
  ...MountTerms.properties,
});
export type SourceChange = Static<typeof SourceChange>;

/** One PCI function to serve. `function` is its name between the two processes. */
export const FunctionSpec = Type.Object({
  function: Type.String(),
  socketPath: Type.String(),
  /** Its guest moves here from another process, which has what is behind the device until then. */
  incoming: Type.Optional(Type.Boolean()),
  /** How the paths begin of the files that it keeps for the next process, should this one be killed; without it, it keeps none. */
  files: Type.Optional(Type.String()),
  /** Where files without names are that a process before this one kept for it, by what it called them: see `Kept`. */
  kept: Type.Optional(Type.Record(Type.String(), Type.String())),
  port: Port,
  /** Over vfio-user, false: no MSI-X capability, interrupts by INTx alone. Over vhost-user that is the VMM's affair. */
  msix: Type.Boolean(),
  device: DeviceSpec,
});
export type FunctionSpec = Static<typeof FunctionSpec>;

/** What addFunction answers: descriptors of files that the daemon is to hold open, because what is in them must outlive the process. */
export const Kept = Type.Object({ keep: Type.Record(Type.String(), Type.Integer({ minimum: 0 })) });
export type Kept = Static<typeof Kept>;

/** A mount in the tree that a function shows. */
export const ChildSpec = Type.Object({
  function: Type.String(),
  name: Type.String(),
  source: Source,
  ...MountTerms.properties,
  target: Type.Optional(Type.String()),
  watch: Type.Optional(Type.Boolean()),
});
export type ChildSpec = Static<typeof ChildSpec>;

/** A mount on a queue of a multiplexing function: on the first of `queues` that is free. */
export const SeatSpec = Type.Object({
  function: Type.String(),
  queues: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: MUX_QUEUES_MAX }),
  tag: Type.String(),
  source: Source,
  ...MountTerms.properties,
});
export type SeatSpec = Static<typeof SeatSpec>;
export const Seated = Type.Object({ queue: Type.Integer({ minimum: 0 }) });
export type Seated = Static<typeof Seated>;

export const SeatRemoval = Type.Object({
  function: Type.String(),
  queue: Type.Integer({ minimum: 0 }),
  /** Also while the guest has it mounted. */
  force: Type.Boolean(),
});
export type SeatRemoval = Static<typeof SeatRemoval>;

/** A mount: a function's own, or that of a child of its tree, or of one of its queues. */
const MOUNT_REF = {
  function: Type.String(),
  child: Type.Optional(Type.String()),
  queue: Type.Optional(Type.Integer({ minimum: 0 })),
};
export const MountRef = Type.Object(MOUNT_REF);
export type MountRef = Static<typeof MountRef>;

export const PolicySpec = Type.Object({
  ...MOUNT_REF,
  readOnly: Type.Boolean(),
  policy: Type.Optional(Policy),
});
export type PolicySpec = Static<typeof PolicySpec>;
export const AuditSpec = Type.Object({ ...MOUNT_REF, ...AuditQuery.properties });
export type AuditSpec = Static<typeof AuditSpec>;

/** Of the overlay of a mount, or of one that no mount shows. */
export const ReviewSpec = Type.Object({
  ...ReviewRequest.properties,
  mount: Type.Optional(MountRef),
  overlay: Type.Optional(Type.Object({ source: Source, upper: Upper, owner: Type.Optional(Owner) })),
});
export type ReviewSpec = Static<typeof ReviewSpec>;
export const ReviewNumber = Type.Object({ review: Type.Integer({ minimum: 1 }) });
export type ReviewNumber = Static<typeof ReviewNumber>;

/** A command for the guest that a tree is mounted in. */
export const CommandSpec = Type.Object({ function: Type.String(), ...ExecRequest.properties });
export type CommandSpec = Static<typeof CommandSpec>;
const CommandNumber = { command: Type.Integer({ minimum: 1 }) };
export const CommandRef = Type.Object(CommandNumber);
export const CommandInput = Type.Object({ ...CommandNumber, ...ExecInput.properties });
export type CommandInput = Static<typeof CommandInput>;
export const CommandSignal = Type.Object({ ...CommandNumber, signal: Signal });
export type CommandSignal = Static<typeof CommandSignal>;
export const InputTaken = Type.Object({ taken: Type.Boolean() });

/** Which child, and how long the guest may take. */
const ChildWait = Type.Object({ function: Type.String(), name: Type.String(), timeoutMs: Type.Integer() });
const ChildName = Type.Object({ function: Type.String(), name: Type.String() });

/** How many children one answer lists. */
export const CHILDREN_PAGE = 256;

export const ChildStatus = Type.Object({
  name: Type.String(),
  state: ChildState,
  detail: Type.String(),
  fids: Type.Integer(),
  openFiles: Type.Integer(),
  watching: Type.Optional(Watching),
});
export type ChildStatus = Static<typeof ChildStatus>;
export const ChildList = Type.Object({ children: Type.Array(ChildStatus) });

/** Where the daemon listens that keeps connections from now on. */
export const KeepOrder = Type.Object({ socketPath: Type.String() });
export type KeepOrder = Static<typeof KeepOrder>;

/** Where the process listens that is to go on with all functions, and which that is. */
export const HandOverOrder = Type.Object({ socketPath: Type.String(), pid: Type.Integer({ minimum: 2 }) });
export type HandOverOrder = Static<typeof HandOverOrder>;
/** Where to listen for the process whose functions this one is to take over, and whose place it takes with them. */
export const TakeOverOrder = Type.Object({
  socketPath: Type.String(),
  place: Type.Object({ socket: Type.String(), stamp: Type.String() }),
});
export type TakeOverOrder = Static<typeof TakeOverOrder>;
export const HandedOver = Type.Object({ pausedMs: Type.Number() });

/** A file of all functions' states: `manager/saved-state/states.ts`. */
const StatesFile = Type.Object({ path: Type.String() });
/** What was in the way, for people. With anything in it, all functions are to be thrown away. */
export const StatesLoaded = Type.Object({ problems: Type.Array(Type.String()) });

const Id = Type.Integer({ minimum: 1 });
export const Request = Type.Union([
  /** Answered once it has connected. */
  Type.Object({ id: Id, method: Type.Literal('keep'), params: KeepOrder }),
  /** Answers HandedOver, and the process ends; or it has failed, and all is as before. */
  Type.Object({ id: Id, method: Type.Literal('handOver'), params: HandOverOrder }),
  /** Answered once it serves the other process's functions. */
  Type.Object({ id: Id, method: Type.Literal('takeOver'), params: TakeOverOrder }),
  /** Writes where all functions stand. Nothing is changed. */
  Type.Object({ id: Id, method: Type.Literal('saveStates'), params: StatesFile }),
  /** Answers StatesLoaded. */
  Type.Object({ id: Id, method: Type.Literal('loadStates'), params: StatesFile }),
  /** Answers Kept. */
  Type.Object({ id: Id, method: Type.Literal('addFunction'), params: FunctionSpec }),
  /** Goes on with the connection that the process before this one had, which comes from whoever keeps it (see `keeping/`): once its mounts are there. */
  Type.Object({ id: Id, method: Type.Literal('goOn'), params: Type.Object({ function: Type.String() }) }),
  Type.Object({
    id: Id,
    method: Type.Literal('removeFunction'),
    params: Type.Object({ function: Type.String() }),
  }),
  Type.Object({ id: Id, method: Type.Literal('setSource'), params: SourceChange }),
  /** Changes a disk's size; answered once the guest is told. */
  Type.Object({ id: Id, method: Type.Literal('resizeDisk'), params: DiskResize }),
  Type.Object({ id: Id, method: Type.Literal('setLink'), params: LinkChange }),
  /** Answers Captured, once the capture has ended. */
  Type.Object({ id: Id, method: Type.Literal('capture'), params: CaptureOrder }),
  /** Resolves also where there is no capture. */
  Type.Object({
    id: Id,
    method: Type.Literal('endCapture'),
    params: Type.Object({ function: Type.String() }),
  }),
  Type.Object({ id: Id, method: Type.Literal('addChild'), params: ChildSpec }),
  /** Answered once the guest's helper has mounted it at its target. */
  Type.Object({ id: Id, method: Type.Literal('childMounted'), params: ChildWait }),
  /** Answered once the guest's helper has let it go. */
  Type.Object({ id: Id, method: Type.Literal('releaseChild'), params: ChildWait }),
  /** Takes it away, in use or not; answers Lost. */
  Type.Object({ id: Id, method: Type.Literal('removeChild'), params: ChildName }),
  /** Answers the ChildList from that one on, in the order in which they came. */
  Type.Object({
    id: Id,
    method: Type.Literal('children'),
    params: Type.Object({ function: Type.String(), from: Type.Integer({ minimum: 0 }) }),
  }),
  /** Answers Seated. */
  Type.Object({ id: Id, method: Type.Literal('addSeat'), params: SeatSpec }),
  /** Answers Lost. */
  Type.Object({ id: Id, method: Type.Literal('removeSeat'), params: SeatRemoval }),
  /** What the guest may do from its next operation on. */
  Type.Object({ id: Id, method: Type.Literal('setPolicy'), params: PolicySpec }),
  /** Everything that the guest asks of it is refused from then on. */
  Type.Object({ id: Id, method: Type.Literal('revoke'), params: MountRef }),
  /** Answers AuditPage, once there is one or the time is over. */
  Type.Object({ id: Id, method: Type.Literal('audit'), params: AuditSpec }),
  /** Answers ReviewNumber. */
  Type.Object({ id: Id, method: Type.Literal('startReview'), params: ReviewSpec }),
  /** Answers ReviewPage, after half a second at most. */
  Type.Object({ id: Id, method: Type.Literal('nextReview'), params: ReviewNumber }),
  /** Answered once it has stopped. */
  Type.Object({ id: Id, method: Type.Literal('stopReview'), params: ReviewNumber }),
  /** Answers CommandRef. */
  Type.Object({ id: Id, method: Type.Literal('startCommand'), params: CommandSpec }),
  /** Answers ExecPage, after half a second at most. */
  Type.Object({ id: Id, method: Type.Literal('commandOutput'), params: CommandRef }),
  /** Answers InputTaken, after half a second at most. */
  Type.Object({ id: Id, method: Type.Literal('commandInput'), params: CommandInput }),
  Type.Object({ id: Id, method: Type.Literal('signalCommand'), params: CommandSignal }),
  /** Resolves also where there is no such command. */
  Type.Object({ id: Id, method: Type.Literal('endCommand'), params: CommandRef }),
  Type.Object({ id: Id, method: Type.Literal('status'), params: Type.Object({}) }),
  /** Answers Inventory. */
  Type.Object({ id: Id, method: Type.Literal('inventory'), params: Type.Object({}) }),
]);
/** `grant`: the number of what was opened for it, which it waits for. */
export type Request = Static<typeof Request> & { readonly grant?: number };

export const SeatStatus = Type.Object({ queue: Type.Integer(), counters: FunctionCounters });
export type SeatStatus = Static<typeof SeatStatus>;

export const FunctionStatus = Type.Object({
  function: Type.String(),
  /** A VMM has it open. */
  connected: Type.Boolean(),
  counters: FunctionCounters,
  driver: Type.Optional(FunctionDriver),
  /** Of a disk: its size, and what is wrong with what it is kept in. */
  disk: Type.Optional(Type.Object({ sizeBytes: Type.Integer(), trouble: Type.Optional(Type.String()) })),
  /** Of a network card: whether there is somebody at the other end of its cable, and what it counted. */
  card: Type.Optional(Type.Object({ carrier: Type.Boolean(), statistics: CardStatistics })),
  /** Of a tree: the guest's helper reads what it tells. */
  helper: Type.Optional(Type.Boolean()),
  /** Of a tree: a helper in the guest runs commands. */
  commands: Type.Optional(Type.Boolean()),
  /** Of a multiplexing function: the queues that serve a mount. */
  seats: Type.Optional(Type.Array(SeatStatus)),
});
export type FunctionStatus = Static<typeof FunctionStatus>;

export const Status = Type.Object({ functions: Type.Array(FunctionStatus) });
export type Status = Static<typeof Status>;

/** What a daemon has to know of the functions that an earlier one had made. */
export const FoundFunction = Type.Object({
  function: Type.String(),
  port: Port,
  msix: Type.Boolean(),
  /** Of a 9p function: it shows no mount of its own. */
  empty: Type.Boolean(),
  /** Of a card on a switch: the socket of its port there. */
  switchPort: Type.Optional(Type.String()),
  /** As in Kept. */
  keep: Type.Optional(Type.Record(Type.String(), Type.Integer({ minimum: 0 }))),
});
export type FoundFunction = Static<typeof FoundFunction>;
export const Inventory = Type.Object({ functions: Type.Array(FoundFunction) });
export type Inventory = Static<typeof Inventory>;

/** A VMM opened the function, or left it; or, of a confined process, what it is connected to is gone, and it wants to be connected again. */
export const ConnectionEvent = Type.Object({
  event: Type.Union([Type.Literal('connected'), Type.Literal('disconnected'), Type.Literal('unpeered')]),
  function: Type.String(),
});
export type ConnectionEvent = Static<typeof ConnectionEvent>;

/** The guest's helper began to read what the function's tree tells, or stopped. */
export const HelperEvent = Type.Object({
  event: Type.Literal('helper'),
  function: Type.String(),
  there: Type.Boolean(),
});
/** The guest's helper said something new of a mount in the function's tree. */
export const ChildEvent = Type.Object({
  event: Type.Literal('child'),
  function: Type.String(),
  ...Type.Pick(ChildStatus, ['name', 'state', 'detail']).properties,
});
export type ChildEvent = Static<typeof ChildEvent>;

/** Of a confined process: the one that its functions were handed to has not said that it serves them, and is to be ended. */
export const UnbegunEvent = Type.Object({ event: Type.Literal('unbegun') });

/** What the process reports on its own. */
export const Report = Type.Union([ConnectionEvent, HelperEvent, ChildEvent, UnbegunEvent]);
export type Report = Static<typeof Report>;
