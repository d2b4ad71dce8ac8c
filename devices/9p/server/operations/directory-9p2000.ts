/** Tread of a directory, read(5): whole stats of its files, one after the other, from the start or from where the last Tread ended. */
import { Errno, isFailure } from '../../../errno.js';
import { FileMode, type ByteString } from '../../fs/file-system.js';
import { HEADER_BYTES, RREAD_HEADER_BYTES } from '../../protocol/constants.js';
import { encodeCount } from '../../protocol/replies.js';
import { encodeStat, WireStat } from '../../protocol/stat.js';
import { type Handler } from '../and-then.js';
import type { OpenFid } from '../fid.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';
import { StatListing } from '../stat-listing.js';
import { fillStat } from './stat-9p2000.js';

const record = new WireStat();

export function readStats(unix: boolean): Handler {
  return (session, r) => {
    const { offset, fid: number } = r.message;
    const fid = session.holdOpen(r, number);
    if (isFailure(fid)) return fid;
    if (fid.readingDirectory) return -Errno.EBUSY;
    const listing = (fid.listing ??= new StatListing());
    if (offset === 0) listing.restart();
    if (offset !== listing.offset) return -Errno.EINVAL;
    fid.readingDirectory = true;
    r.readingDirectory = fid;
    return fill(session, r, fid, listing, unix);
  };
}

async function fill(
  session: Session,
  r: Request,
  fid: OpenFid,
  listing: StatListing,
  unix: boolean,
): Promise<number> {
  const room = Math.min(r.message.count, r.roomBytes - RREAD_HEADER_BYTES);
  let taken = 0;
  let failure = 0;
  for (;;) {
    if (listing.next === undefined) failure = await listing.fetch(fid.file);
    const name = listing.next;
    if (failure < 0 || name === undefined) break;
    const recordBytes = await encodeEntry(session, r, fid, name, unix);
    failure = recordBytes < 0 && !isGone(recordBytes) ? recordBytes : 0;
    if (failure === 0 && recordBytes > room - taken) failure = -Errno.EINVAL;
    if (failure < 0) break;
    listing.advance();
    if (recordBytes < 0) continue;
    r.reply.scatter(RREAD_HEADER_BYTES + taken, r.writer.bytes, HEADER_BYTES, recordBytes);
    taken += recordBytes;
  }
  // What was found before a failure, or before the end of the room, is not lost: the next Tread goes on there.
  if (taken === 0 && failure < 0) return failure;
  listing.offset += taken;
  r.writer.reset(HEADER_BYTES);
  encodeCount(r.writer, taken);
  r.payloadBytes = taken;
  return 0;
}

/** True where the file went away after its name was read. */
function isGone(failure: number): boolean {
  return failure === -Errno.ENOENT || failure === -Errno.ESTALE;
}

/** Writes the stat of one entry into the request's writer; answers its bytes, or a negative errno. */
async function encodeEntry(
  session: Session,
  r: Request,
  fid: OpenFid,
  name: ByteString,
  unix: boolean,
): Promise<number> {
  const { attributes, writer } = r;
  attributes.filled = false;
  const node = await fid.node.walk(name, attributes);
  if (isFailure(node)) return node;
  try {
    const answer = attributes.filled ? 0 : await node.getattr(attributes);
    const failure = answer < 0 ? answer : session.qids.map(attributes, r.qid);
    if (failure < 0) return failure;
    const isLink = (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFLNK;
    const target = unix && isLink ? await node.readlink() : '';
    if (isFailure(target)) return target;
    fillStat(record, attributes, r.qid, name, target, unix);
  } finally {
    session.releaseNode(node);
  }
  writer.reset(HEADER_BYTES);
  encodeStat(writer, record, unix);
  return writer.errno !== 0 ? -writer.errno : writer.position - HEADER_BYTES;
}
