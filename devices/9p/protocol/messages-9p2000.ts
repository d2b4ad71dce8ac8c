/**
 * The T-messages of 9P2000 and 9P2000.u that 9P2000.L does not have, or has with other fields. As in messages.ts the reader stands
 * after size[4] type[1] tag[2].
 */
import { LABEL_MAX_BYTES, NAME_MAX_BYTES, P9_NONUNAME, PATH_MAX_BYTES } from './constants.js';
import type { MessageReader } from './cursor.js';
import type { TMessage } from './messages.js';
import { decodeStat } from './stat.js';

/** size[4] Tauth tag[2] afid[4] uname[s] aname[s] */
export function decodePlainTauth(r: MessageReader, m: TMessage): void {
  m.afid = r.u32();
  m.uname = r.string(LABEL_MAX_BYTES);
  m.aname = r.string(PATH_MAX_BYTES);
}

/** size[4] Tattach tag[2] fid[4] afid[4] uname[s] aname[s]; the user is the one that uname names by number, if it does. */
export function decodePlainTattach(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.afid = r.u32();
  m.uname = r.string(LABEL_MAX_BYTES);
  m.aname = r.string(PATH_MAX_BYTES);
  m.nUname = idOf(m.uname) ?? P9_NONUNAME;
}

/** size[4] Topen tag[2] fid[4] mode[1] */
export function decodeTopen(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.flags = r.u8();
}

/** size[4] Tcreate tag[2] fid[4] name[s] perm[4] mode[1] */
export function decodePlainTcreate(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.mode = r.u32();
  m.flags = r.u8();
  m.extension = '';
}

/** size[4] Tcreate tag[2] fid[4] name[s] perm[4] mode[1] extension[s] */
export function decodeUnixTcreate(r: MessageReader, m: TMessage): void {
  decodePlainTcreate(r, m);
  m.extension = r.string(PATH_MAX_BYTES);
}

/** size[4] Twstat tag[2] fid[4] stat[n], where n is a length[2] */
export function decodePlainTwstat(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  decodeStat(r, m.wstat, r.u16(), false);
}

export function decodeUnixTwstat(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  decodeStat(r, m.wstat, r.u16(), true);
}

/** The user or group that a name of digits stands for: there is no other list of names here. */
export function idOf(name: string): number | undefined {
  const id = /^\d{1,10}$/.test(name) ? Number(name) : P9_NONUNAME;
  return id < P9_NONUNAME ? id : undefined;
}
