/** Takes messages out of the client's memory: each byte once, before it is looked at. Each answers 0 or a negative errno. */
import { Errno } from '../../errno.js';
import { HEADER_BYTES, REQUEST_MAX_BYTES } from '../protocol/constants.js';
import type { Operation } from './dialect.js';
import type { Request } from './request.js';

/** Fetches the header, unless those bytes have been fetched already, and reads it. */
export function fetchHeader(r: Request, header: Uint8Array | undefined): number {
  const m = r.message;
  const { reader } = r;
  if (header !== undefined) r.bytes.set(header);
  reader.reset(0, header?.length ?? r.source.gather(0, r.bytes, 0, HEADER_BYTES));
  m.sizeBytes = reader.u32();
  m.type = reader.u8();
  const tag = reader.u16();
  if (reader.errno !== 0) return -reader.errno;
  m.tag = tag;
  return 0;
}

/** Fetches the rest, but for data that the file system takes where it lies, and reads its fields. */
export function fetchFields(r: Request, { dataOffset, decode }: Operation): number {
  const m = r.message;
  const { reader } = r;
  const endBytes = Math.min(m.sizeBytes, dataOffset || REQUEST_MAX_BYTES);
  reader.reset(
    HEADER_BYTES,
    HEADER_BYTES + r.source.gather(HEADER_BYTES, r.bytes, HEADER_BYTES, endBytes - HEADER_BYTES),
  );
  decode(reader, m);
  if (reader.errno !== 0) return -reader.errno;
  return reader.position === (dataOffset || m.sizeBytes) ? 0 : -Errno.EPROTO;
}
