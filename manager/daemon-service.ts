/** What the daemon does of what is asked of it over the API: most of it is a chassis's affair. */
import { readFileSync } from 'node:fs';
import { planCapacity } from './chassis/capacity.js';
import { PLACEMENT_RULES } from './chassis/placement-rules.js';
import type { ChassisRegistry } from './chassis-registry.js';
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
} from './control/api.js';
import type { ChassisService, Observed } from './control/service.js';
import type { ChassisController } from './controller.js';
import type { EventLog } from './events/event-log.js';
import { guestSetup } from './guest-setup.js';
import { observe } from './observation.js';
import { readSaved, renamed, writeSaved } from './saved-state/store.js';

export interface DaemonServiceOptions {
  readonly registry: ChassisRegistry;
  readonly happened: EventLog;
  readonly onShutdown: () => void;
}

export class DaemonService implements ChassisService {
  private readonly options: DaemonServiceOptions;
  private readonly registry: ChassisRegistry;

  constructor(options: DaemonServiceOptions) {
    this.options = options;
    this.registry = options.registry;
  }

  health(): Health {
    return { version: packageVersion(), pid: process.pid };
  }

  list(): Promise<Chassis[]> {
    return Promise.all(this.registry.all.map((controller) => controller.describe()));
  }

  observe(timeoutMs: number): Promise<Observed> {
    return observe(this.registry.all, timeoutMs);
  }

  create(request: CreateChassisRequest): Promise<Chassis> {
    return this.registry.create(request);
  }

  async get(name: string): Promise<Chassis> {
    return this.registry.find(name).describe();
  }

  delete(name: string, query: DeleteChassisQuery): Promise<Deleted> {
    return this.registry.delete(name, query);
  }

  async attach(name: string, request: AttachRequest): Promise<Mount[]> {
    return this.registry.find(name).attach(request);
  }

  async detach(name: string, tag: string, query: DetachQuery): Promise<Detached> {
    return this.registry.find(name).detach(tag, query);
  }

  async policy(name: string, tag: string): Promise<PolicyView> {
    return this.registry.find(name).policies.show(tag);
  }

  async changePolicy(name: string, tag: string, change: PolicyChange): Promise<PolicyView> {
    return this.registry.find(name).policies.change(tag, change);
  }

  async revoke(name: string, tag: string): Promise<PolicyView> {
    return this.registry.find(name).policies.revoke(tag);
  }

  async audit(name: string, tag: string, query: AuditQuery): Promise<AuditPage> {
    return this.registry.find(name).policies.audit(tag, query);
  }

  review(name: string, tag: string, request: ReviewRequest): AsyncGenerator<ReviewPage> {
    return this.registry.find(name).overlays.review(tag, request);
  }

  async mounts(name?: string): Promise<Mount[]> {
    return this.listed(name, (controller) => controller.mounts());
  }

  async addDisk(name: string, request: AddDiskRequest): Promise<Disk> {
    return this.registry.find(name).disks.add(request);
  }

  async resizeDisk(name: string, disk: string, request: ResizeDiskRequest): Promise<Disk> {
    return this.registry.find(name).disks.resize(disk, request);
  }

  async removeDisk(name: string, disk: string, query: RemoveDiskQuery): Promise<void> {
    return this.registry.find(name).disks.remove(disk, query);
  }

  async disks(name?: string): Promise<Disk[]> {
    return this.listed(name, (controller) => controller.disks.list());
  }

  async addCard(name: string, request: AddCardRequest): Promise<Card> {
    return this.registry.find(name).networks.add(request);
  }

  async setLink(name: string, card: string, { up }: SetLinkRequest): Promise<Card> {
    return this.registry.find(name).networks.setLink(card, up);
  }

  async capture(name: string, card: string, request: CaptureRequest): Promise<Captured> {
    return this.registry.find(name).networks.capture(card, request);
  }

  async endCapture(name: string, card: string): Promise<void> {
    return this.registry.find(name).networks.endCapture(card);
  }

  async removeCard(name: string, card: string, query: RemoveCardQuery): Promise<void> {
    return this.registry.find(name).networks.remove(card, query);
  }

  async cards(name?: string): Promise<Card[]> {
    return this.listed(name, (controller) => controller.networks.list());
  }

  exec(name: string, request: ExecRequest): AsyncGenerator<ExecPage> {
    return this.registry.find(name).commands.exec(request);
  }

  async execInput(name: string, command: number, input: ExecInput): Promise<void> {
    await this.registry.find(name).commands.input(command, input);
  }

  async execSignal(name: string, command: number, signal: Signal): Promise<void> {
    await this.registry.find(name).commands.signal(command, signal);
  }

  guestSetup(query: GuestSetupQuery): GuestSetup {
    return guestSetup(query);
  }

  async plan({ chassis, mounts, via, vmm }: PlanRequest): Promise<Plan> {
    if (chassis !== undefined) return this.registry.find(chassis).plan(mounts, via);
    return planCapacity(PLACEMENT_RULES[vmm], { mounts, via });
  }

  async tree(name: string): Promise<TopologyNode> {
    return this.registry.find(name).tree();
  }

  async restart(name: string): Promise<Chassis> {
    return this.registry.find(name).restart();
  }

  async upgrade(name: string): Promise<Upgraded> {
    return this.registry.find(name).upgrade();
  }

  async save(name: string, { path, topology }: SaveRequest): Promise<Saved> {
    const bytes = writeSaved(path, await this.registry.find(name).save(!topology));
    return { chassis: name, path, bytes };
  }

  async restoreSaved({ path, name }: RestoreRequest): Promise<Chassis> {
    return this.registry.createSaved(renamed(readSaved(path), name));
  }

  async qemuArgs(name: string, request: QemuArgsRequest): Promise<QemuArgs> {
    return this.registry.find(name).qemuArgs(request);
  }

  events(query: EventsQuery, gone: AbortSignal): AsyncGenerator<Event> {
    return this.options.happened.follow(query, gone);
  }

  shutdown(): void {
    this.options.onShutdown();
  }

  /** Of that chassis, or of all. */
  private async listed<T>(
    name: string | undefined,
    list: (controller: ChassisController) => Promise<T[]>,
  ): Promise<T[]> {
    const controllers = name === undefined ? this.registry.all : [this.registry.find(name)];
    return (await Promise.all(controllers.map(list))).flat();
  }
}

function packageVersion(): string {
  for (const up of ['../package.json', '../../package.json']) {
    try {
      const { version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as {
        version: string;
      };
      return version;
    } catch {
      continue;
    }
  }
  return 'unknown';
}
