/** What the control server serves: the daemon, or a stand-in in tests. Every method may reject with ChassisError. */
import type {
  AddCardRequest,
  AddDiskRequest,
  AttachRequest,
  Captured,
  CaptureRequest,
  Card,
  AuditPage,
  AuditQuery,
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
  SetLinkRequest,
  RestoreRequest,
  ReviewPage,
  ReviewRequest,
  Saved,
  SaveRequest,
  Signal,
  TopologyNode,
  Upgraded,
} from './api.js';

/** Those chassis whose device processes answer in time, and the names of the others. */
export interface Observed {
  readonly chassis: readonly Chassis[];
  readonly silent: readonly string[];
}

export interface ChassisService {
  health(): Health;
  list(): Promise<Chassis[]>;
  /** As `list`, and none that hangs keeps the others from being seen. */
  observe(timeoutMs: number): Promise<Observed>;
  create(request: CreateChassisRequest): Promise<Chassis>;
  get(name: string): Promise<Chassis>;
  delete(name: string, query: DeleteChassisQuery): Promise<Deleted>;
  attach(name: string, request: AttachRequest): Promise<Mount[]>;
  detach(name: string, tag: string, query: DetachQuery): Promise<Detached>;
  policy(name: string, tag: string): Promise<PolicyView>;
  changePolicy(name: string, tag: string, change: PolicyChange): Promise<PolicyView>;
  revoke(name: string, tag: string): Promise<PolicyView>;
  audit(name: string, tag: string, query: AuditQuery): Promise<AuditPage>;
  /** Whoever returns from it early stops the review. */
  review(name: string, tag: string, request: ReviewRequest): AsyncGenerator<ReviewPage>;
  mounts(name?: string): Promise<Mount[]>;
  addDisk(name: string, request: AddDiskRequest): Promise<Disk>;
  resizeDisk(name: string, disk: string, request: ResizeDiskRequest): Promise<Disk>;
  removeDisk(name: string, disk: string, query: RemoveDiskQuery): Promise<void>;
  disks(name?: string): Promise<Disk[]>;
  addCard(name: string, request: AddCardRequest): Promise<Card>;
  setLink(name: string, card: string, request: SetLinkRequest): Promise<Card>;
  /** Resolves once the capture has ended. */
  capture(name: string, card: string, request: CaptureRequest): Promise<Captured>;
  /** Ends the capture that is under way, if there is one. */
  endCapture(name: string, card: string): Promise<void>;
  removeCard(name: string, card: string, query: RemoveCardQuery): Promise<void>;
  cards(name?: string): Promise<Card[]>;
  /** Whoever returns from it early ends the command. */
  exec(name: string, request: ExecRequest): AsyncGenerator<ExecPage>;
  /** Resolves once there was room for it. */
  execInput(name: string, command: number, input: ExecInput): Promise<void>;
  execSignal(name: string, command: number, signal: Signal): Promise<void>;
  guestSetup(query: GuestSetupQuery): GuestSetup;
  /** What mounts would need, and what would be left; nothing is changed. */
  plan(request: PlanRequest): Promise<Plan>;
  tree(name: string): Promise<TopologyNode>;
  restart(name: string): Promise<Chassis>;
  upgrade(name: string): Promise<Upgraded>;
  save(name: string, request: SaveRequest): Promise<Saved>;
  restoreSaved(request: RestoreRequest): Promise<Chassis>;
  qemuArgs(name: string, request: QemuArgsRequest): Promise<QemuArgs>;
  /** What happens, from now on or from what `since` names; ends with the daemon, or once `gone`. */
  events(query: EventsQuery, gone: AbortSignal): AsyncGenerator<Event>;
  /** Begins to stop; the answer to the request may still go out. */
  shutdown(): void;
}
