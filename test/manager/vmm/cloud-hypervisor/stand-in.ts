/**
 * Stands in for Cloud Hypervisor: its REST API, with requests checked against the published schemas and by the rules that its sources have
 * (`validate` of the configurations, `remove_device`), and a guest that lets devices go. It opens what it is given, and serves no guest.
 */
import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Value } from '@sinclair/typebox/value';
import { VFIO_USER, VHOST_USER } from '../../daemon-process.js';
import { REQUEST_BODIES } from './schemas.js';

interface Config {
  readonly id?: string;
  readonly socket?: string;
  readonly vhost_socket?: string;
  readonly vhost_user?: boolean;
  readonly num_queues?: number;
  readonly queue_size?: number;
  readonly pci_segment?: number;
}

interface Device {
  readonly route: string;
  readonly config: Config;
  readonly connection: Socket | undefined;
}

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export class CloudHypervisorStandIn {
  state: 'Created' | 'Running' | 'Shutdown' | 'Paused' = 'Running';
  /** There is a VM in it. */
  hasVm = true;
  isShared = true;
  processors = 2;
  segments = 1;
  pid = 4711;
  guest: 'agrees' | 'ignores' = 'agrees';
  /** Whether what a device is served at is opened. */
  connects = false;
  /** By `METHOD route`: what it answers in place of what it would. */
  readonly answers = new Map<string, (response: ServerResponse) => void>();
  readonly devices = new Map<string, Device>();
  /** Method, route and body of what was asked, without looks. */
  readonly requests: [string, string, unknown][] = [];
  private server: Server | undefined;

  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    const server = createServer((request, response) => void this.serve(request, response));
    this.server = server;
    await new Promise<void>((resolve) => server.listen(path, resolve));
  }

  /** Dies. */
  async stop(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    for (const id of [...this.devices.keys()]) this.eject(id);
    server?.closeAllConnections();
    if (server) await new Promise((resolve) => server.close(resolve));
  }

  eject(id: string): void {
    this.devices.get(id)?.connection?.destroy();
    this.devices.delete(id);
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const route = (request.url ?? '').replace('/api/v1/', '');
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    const text = Buffer.concat(pieces).toString('utf8');
    const instead = this.answers.get(`${request.method} ${route}`);
    if (instead) return instead(response);
    try {
      const answer = await this.perform(request.method ?? '', route, text);
      response.writeHead(answer === undefined ? 204 : 200, { 'content-type': 'application/json' });
      response.end(answer === undefined ? undefined : JSON.stringify(answer));
    } catch (error) {
      const status = error instanceof Refusal ? error.status : 500;
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(['Error from API', (error as Error).message]));
    }
  }

  private async perform(method: string, route: string, text: string): Promise<unknown> {
    if (method === 'GET' && route === 'vmm.ping') return { version: 'v53.0', pid: this.pid };
    if (method === 'GET' && route === 'vm.info') return this.info();
    if (method !== 'PUT' || !(route in REQUEST_BODIES)) throw new Refusal(404, 'Not Found');
    const body = JSON.parse(text) as unknown;
    const [wrong] = [...Value.Errors(REQUEST_BODIES[route], body)];
    if (wrong) throw new Refusal(400, `${wrong.path}: ${wrong.message}`);
    this.requests.push([method, route, body]);
    if (!this.hasVm) throw new Refusal(404, 'VM is not created');
    return route === 'vm.remove-device'
      ? this.remove((body as Config).id ?? '')
      : this.add(route, body as Config);
  }

  private info(): unknown {
    if (!this.hasVm) throw new Refusal(404, 'VM is not created');
    const nodes = [...this.devices].flatMap(([id, { route, config }], i) => {
      const bdf = `000${config.pci_segment ?? 0}:00:0${i + 4}.0`;
      if (route === 'vm.add-user-device') return [{ id, resources: [], children: [], pci_bdf: bdf }];
      const parent = `_virtio-pci-${id}`;
      return [
        { id, resources: [], parent, children: [] },
        { id: parent, resources: [], children: [id], pci_bdf: bdf },
      ];
    });
    return {
      state: this.state,
      config: {
        payload: {},
        cpus: { boot_vcpus: this.processors, max_vcpus: this.processors },
        memory: { size: 1 << 30, shared: this.isShared },
      },
      memory_actual_size: 1 << 30,
      device_tree: Object.fromEntries<object>([
        ['__serial', { id: '__serial' }],
        ...nodes.map((node) => [node.id, node] as const),
      ]),
    };
  }

  private async add(route: string, config: Config): Promise<unknown> {
    const id = config.id ?? `_device${this.devices.size}`;
    if (this.devices.has(id)) throw new Refusal(409, `Identifier ${id} is not unique`);
    this.validate(route, config);
    const [path, greeting] =
      config.socket === undefined ? [config.vhost_socket ?? '', VHOST_USER] : [config.socket, VFIO_USER];
    const connection = this.connects ? await opened(path, greeting) : undefined;
    this.devices.set(id, { route, config, connection });
    return this.state === 'Running' || this.state === 'Paused' ? { id, bdf: '0000:00:04.0' } : undefined;
  }

  private validate(
    route: string,
    { vhost_user, num_queues = 1, queue_size = 128, pci_segment = 0 }: Config,
  ): void {
    const processors = this.processors;
    if (pci_segment >= this.segments) throw new Refusal(400, `Invalid PCI segment id ${pci_segment}`);
    if (route === 'vm.add-user-device') return;
    if (vhost_user !== true) throw new Refusal(400, 'no path, no TAP device, no vhost-user socket');
    if (!this.isShared) throw new Refusal(400, 'Using vhost-user requires using shared memory or huge pages');
    if ((queue_size & (queue_size - 1)) !== 0) throw new Refusal(400, 'Queue size is not a power of two');
    if (route === 'vm.add-net' && num_queues < 2)
      throw new Refusal(400, 'Number of queues to virtio_net less than 2');
    const queues = route === 'vm.add-net' ? num_queues / 2 : num_queues;
    if (queues > processors)
      throw new Refusal(400, `Number of queues (${queues}) exceeds vCPUs (${processors})`);
  }

  private remove(id: string): undefined {
    if (!this.devices.has(id)) throw new Refusal(404, `Unknown device id ${id}`);
    if (this.guest === 'agrees') setTimeout(() => this.eject(id), 20);
  }
}

/** Answered once the device process has answered the first message. */
function opened(path: string, greeting: Buffer): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.write(greeting);
    socket.once('data', () => resolve(socket));
    socket.on('error', () => reject(new Refusal(500, `cannot connect to ${path}`)));
  });
}
