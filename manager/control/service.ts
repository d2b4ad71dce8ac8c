/** What the control server serves: the daemon, or a stand-in in tests. Every method may reject with ChassisError. */
import type {
  AddCardRequest,
  AddDiskRequest,
  AttachRequest,
  Captured,
  CaptureRequest,
  Card,
  Chassis,
  CreateChassisRequest,
  DeleteChassisQuery,
  Detached,
  DetachQuery,
  Disk,
  GuestSetup,
  GuestSetupQuery,
  Health,
  Mount,
  Plan,
  PlanRequest,
  QemuArgs,
  QemuArgsRequest,
  RemoveCardQuery,
  RemoveDiskQuery,
  ResizeDiskRequest,
  SetLinkRequest,
  TopologyNode,
} from './api.js';

export interface ChassisService {
  health(): Health;
  list(): Promise<Chassis[]>;
  create(request: CreateChassisRequest): Promise<Chassis>;
  get(name: string): Promise<Chassis>;
  delete(name: string, query: DeleteChassisQuery): Promise<void>;
  attach(name: string, request: AttachRequest): Promise<Mount[]>;
  detach(name: string, tag: string, query: DetachQuery): Promise<Detached>;
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
  guestSetup(query: GuestSetupQuery): GuestSetup;
  /** What mounts would need, and what would be left; nothing is changed. */
  plan(request: PlanRequest): Promise<Plan>;
  tree(name: string): Promise<TopologyNode>;
  restart(name: string): Promise<Chassis>;
  qemuArgs(name: string, request: QemuArgsRequest): Promise<QemuArgs>;
  /** Begins to stop; the answer to the request may still go out. */
  shutdown(): void;
}
