/**
 * A client of Cloud Hypervisor's REST API (`vmm/src/api/openapi/cloud-hypervisor.yaml` in its sources) over its unix socket: as much of it as
 * plugging takes. One connection a request; the VMM answers them one after the other.
 */
import { request, type IncomingMessage } from 'node:http';
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';

/** The VMM refused. `message` is what it said. */
export class CloudHypervisorRefusal extends Error {
  override readonly name = 'CloudHypervisorRefusal';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Nobody answers at the socket, or not as Cloud Hypervisor does. */
export class CloudHypervisorGone extends Error {
  override readonly name = 'CloudHypervisorGone';
}

/** There was no answer in time. What was asked for may still be done. */
export class CloudHypervisorTimeout extends Error {
  override readonly name = 'CloudHypervisorTimeout';
}

export const VmmPing = Type.Object({
  version: Type.String({ maxLength: 200 }),
  pid: Type.Optional(Type.Integer()),
});
export type VmmPing = Static<typeof VmmPing>;

const Shared = Type.Object({ shared: Type.Optional(Type.Boolean()) });

export const VmInfo = Type.Object({
  state: Type.String(),
  config: Type.Object({
    cpus: Type.Optional(Type.Object({ boot_vcpus: Type.Optional(Type.Integer()) })),
    memory: Type.Optional(
      Type.Composite([
        Shared,
        Type.Object({ zones: Type.Optional(Type.Union([Type.Array(Shared), Type.Null()])) }),
      ]),
    ),
  }),
  /** By id. */
  device_tree: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
});
export type VmInfo = Static<typeof VmInfo>;

export const PciDeviceInfo = Type.Object({ id: Type.String(), bdf: Type.String() });
export type PciDeviceInfo = Static<typeof PciDeviceInfo>;

export type DeviceRoute = 'vm.add-user-device' | 'vm.add-disk' | 'vm.add-net';

const HTTP_ROOT = '/api/v1';
const DEFAULT_TIMEOUT_MS = 10_000;
/** Far above what a VM of a few thousand devices tells of itself. */
const MAX_ANSWER_BYTES = 16 << 20;

/** Each method rejects with CloudHypervisorRefusal, CloudHypervisorGone or CloudHypervisorTimeout. */
export class CloudHypervisorClient {
  private readonly socketPath: string;
  private readonly signal: AbortSignal | undefined;

  /** `signal` ends what is under way, as if the VMM had gone. */
  constructor(socketPath: string, signal?: AbortSignal) {
    this.socketPath = socketPath;
    this.signal = signal;
  }

  async ping(): Promise<VmmPing> {
    return checked(VmmPing, await this.call('GET', 'vmm.ping', undefined, DEFAULT_TIMEOUT_MS));
  }

  /** Undefined where there is no VM in it. */
  async info(timeoutMs = DEFAULT_TIMEOUT_MS): Promise<VmInfo | undefined> {
    try {
      return checked(VmInfo, await this.call('GET', 'vm.info', undefined, timeoutMs));
    } catch (error) {
      if (error instanceof CloudHypervisorRefusal && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Adds a device to the VM. Undefined where the VM does not run yet, and will have it when it is booted. */
  async add(route: DeviceRoute, config: object, timeoutMs: number): Promise<PciDeviceInfo | undefined> {
    const answer = await this.call('PUT', route, config, timeoutMs);
    return answer === undefined ? undefined : checked(PciDeviceInfo, answer);
  }

  /** Asks the guest to let a device go; asking again is fine. */
  async remove(id: string, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<void> {
    await this.call('PUT', 'vm.remove-device', { id }, timeoutMs);
  }

  private async call(method: string, route: string, body: object | undefined, timeoutMs: number) {
    const { status, text } = await this.exchange(method, route, body, timeoutMs);
    if (status >= 200 && status < 300) return parsed(text);
    throw new CloudHypervisorRefusal(status, refusalText(status, text));
  }

  private exchange(
    method: string,
    route: string,
    body: object | undefined,
    timeoutMs: number,
  ): Promise<{ status: number; text: string }> {
    const { socketPath, signal } = this;
    const payload = body && JSON.stringify(body);
    const headers = payload === undefined ? {} : jsonHeaders(payload);
    return new Promise((resolve, reject) => {
      const path = `${HTTP_ROOT}/${route}`;
      const outgoing = request({ socketPath, method, path, headers, agent: false, signal }, (answer) => {
        textOf(answer).then((text) => resolve({ status: answer.statusCode ?? 500, text }), fail);
      });
      const timer = setTimeout(() => {
        outgoing.destroy();
        reject(new CloudHypervisorTimeout(`it did not answer ${route} within ${timeoutMs} ms`));
      }, timeoutMs);
      const fail = (error: Error) => reject(new CloudHypervisorGone(error.message));
      outgoing.on('error', fail);
      outgoing.on('close', () => clearTimeout(timer));
      outgoing.end(payload);
    });
  }
}

function jsonHeaders(payload: string) {
  return { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let lengthBytes = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    lengthBytes += piece.length;
    if (lengthBytes > MAX_ANSWER_BYTES) throw new Error(`it answered more than ${MAX_ANSWER_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function parsed(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    throw new CloudHypervisorGone('it did not answer with JSON');
  }
}

function checked<T extends TSchema>(schema: T, value: unknown): Static<T> {
  if (Value.Check(schema, value)) return value;
  const at = Value.Errors(schema, value).First()?.path;
  throw new CloudHypervisorGone(`it did not answer as Cloud Hypervisor does: ${at === '' ? 'it' : at}`);
}

/** A chain of messages, from what was asked to what went wrong; older releases answer a plain text. */
function refusalText(status: number, text: string): string {
  try {
    const messages: unknown = JSON.parse(text);
    if (Array.isArray(messages) && messages.length > 0) return messages.map(String).join(': ');
  } catch {
    // Not JSON: then it is the text itself.
  }
  return text === '' ? `status ${status}` : text.slice(0, 1000);
}
