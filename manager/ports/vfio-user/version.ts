/** VFIO_USER_VERSION: which version and which limits a connection uses. */
import { Errno } from '../../../devices/errno.js';
import { VFIO_USER_MAJOR, VFIO_USER_MINOR, VfioUserLimit } from './protocol.js';
import type { WireReader, WireWriter } from './wire.js';

type Capabilities = Record<string, unknown>;

/** What the client proposed, for the log. */
export interface ProposedVersion {
  major: number;
  minor: number;
}

/**
 * Answers a proposal: `major[2] minor[2] data[]`, where data is NUL-terminated JSON, `{"capabilities": {…}}`, and optional in a
 * request. The reply has the same layout, with no higher minor and with those of our limits whose names the client proposed: a
 * subset, as the specification asks. QEMU has room for no more than it sent.
 *
 * @returns 0, or -EINVAL for a proposal that is malformed or cannot be met
 */
export function negotiateVersion(request: WireReader, reply: WireWriter, proposed: ProposedVersion): number {
  proposed.major = request.u16();
  proposed.minor = request.u16();
  if (request.overrun || proposed.major !== VFIO_USER_MAJOR) return -Errno.EINVAL;
  const capabilities = parseVersionData(request);
  const answer = capabilities === undefined ? undefined : answerCapabilities(capabilities);
  if (answer === undefined) return -Errno.EINVAL;
  const data = Buffer.from(`${JSON.stringify({ capabilities: answer })}\0`);
  reply.reserve(4 + data.byteLength);
  reply.putU16(VFIO_USER_MAJOR);
  reply.putU16(Math.min(proposed.minor, VFIO_USER_MINOR));
  reply.putBytes(data);
  return 0;
}

/** The proposed capabilities: an empty object where there is no data; undefined where it is malformed. */
function parseVersionData(request: WireReader): Capabilities | undefined {
  const lengthBytes = request.remaining;
  if (lengthBytes === 0) return {};
  if (lengthBytes > VfioUserLimit.MAX_VERSION_DATA) return undefined;
  const data = request.bytes(lengthBytes);
  if (data[lengthBytes - 1] !== 0) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data.subarray(0, lengthBytes - 1)));
  } catch {
    return undefined;
  }
  if (!isObject(parsed)) return undefined;
  const { capabilities = {} } = parsed;
  return isObject(capabilities) ? capabilities : undefined;
}

/** Our values for the capabilities that were proposed; undefined where one of them is unusable. */
function answerCapabilities(proposed: Capabilities): Capabilities | undefined {
  const answer: Capabilities = {};
  const limits = {
    max_msg_fds: VfioUserLimit.MAX_MSG_FDS,
    max_data_xfer_size: VfioUserLimit.MAX_DATA_XFER_SIZE,
    max_dma_maps: VfioUserLimit.MAX_DMA_MAPS,
  };
  for (const [name, limit] of Object.entries(limits)) {
    const value = proposed[name];
    if (value === undefined) continue;
    if (!isCount(value)) return undefined;
    // Descriptors are received here, so that limit is ours alone; the others hold for both sides.
    answer[name] = name === 'max_msg_fds' ? limit : Math.min(value, limit);
  }
  const { pgsizes, write_multiple } = proposed;
  if (pgsizes !== undefined) {
    if (!isCount(pgsizes) || pgsizes === 0 || pgsizes % VfioUserLimit.DMA_PAGE_SIZE !== 0) return undefined;
    // Maps need whole 4 KiB pages and no more, so every larger page size is as good.
    answer.pgsizes = pgsizes;
  }
  if (write_multiple !== undefined) {
    if (typeof write_multiple !== 'boolean') return undefined;
    answer.write_multiple = write_multiple;
  }
  return answer;
}

function isObject(value: unknown): value is Capabilities {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
