/** What the control server serves: the daemon, or a stand-in in tests. Every method may reject with ChassisError. */
import type {
  AddDiskRequest,
  AttachRequest,
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
  RemoveDiskQuery,
  ResizeDiskRequest,
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
  guestSetup(query: GuestSetupQuery): GuestSetup;
  /** What mounts would need, and what would be left; nothing is changed. */
  plan(request: PlanRequest): Promise<Plan>;
  tree(name: string): Promise<TopologyNode>;
  restart(name: string): Promise<Chassis>;
  qemuArgs(name: string, request: QemuArgsRequest): Promise<QemuArgs>;
  /** Begins to stop; the answer to the request may still go out. */
  shutdown(): void;
}
