/**
 * The handshake of a connection: fixed newstyle, structured replies where the server has them, then NBD_OPT_GO. A machine of bytes in
 * and bytes out, without a socket.
 */
import { BlockBackendError } from '../errors.js';
import { exportInfo, protocolError, type BlockSizes, type ExportInfo } from './export-info.js';
import {
  IHAVEOPT,
  NBD_MAX_STRING_BYTES,
  NBD_REP_FLAG_ERROR,
  NbdHandshakeFlag,
  NBDMAGIC,
  NbdInfo,
  NbdOption,
  NbdOptionReply,
  OPTION_REPLY_MAGIC,
} from './protocol.js';

/** NBDMAGIC[8] IHAVEOPT[8] flags[2] */
const GREETING_BYTES = 18;
/** magic[8] option[4] type[4] length[4] */
const REPLY_HEADER_BYTES = 20;
/** Nothing that a reply has to say is longer: an error's text, an export's description. */
const MAX_REPLY_BYTES = NBD_MAX_STRING_BYTES + 16;
/** A server that sends more than this many pieces of information is not going to stop. */
const MAX_REPLIES = 64;
const TWO_POW_32 = 0x1_0000_0000;

export interface HandshakeEvents {
  send(bytes: Uint8Array): void;
  /** The transmission phase has begun: all further bytes belong to it. */
  done(info: ExportInfo): void;
}

export class NbdHandshake {
  readonly #exportName: string;
  readonly #events: HandshakeEvents;
  readonly #buffer = new Uint8Array(REPLY_HEADER_BYTES + MAX_REPLY_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  #length = 0;
  #expected = GREETING_BYTES;
  /** The option whose reply is awaited; 0 before the first. */
  #option = 0;
  #replies = 0;
  #structured = false;
  #size: number | undefined;
  #flags = 0;
  #blockSizes: BlockSizes | undefined;
  #done = false;

  constructor(exportName: string, events: HandshakeEvents) {
    this.#exportName = exportName;
    this.#events = events;
  }

  /**
   * Takes received bytes from `start` to `end`, up to the end of the handshake; answers where it stopped.
   *
   * @throws BlockBackendError BACKEND_PROTOCOL, or why the server does not let us in
   */
  feed(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && !this.#done) {
      const take = Math.min(this.#expected - this.#length, end - at);
      this.#buffer.set(bytes.subarray(at, at + take), this.#length);
      this.#length += take;
      at += take;
      if (this.#length === this.#expected) this.#message();
    }
    return at;
  }

  #message(): void {
    if (this.#option === 0) this.#greeting();
    else if (this.#expected === REPLY_HEADER_BYTES && this.#replyHeader() > 0) return;
    else this.#reply();
    this.#length = 0;
    this.#expected = REPLY_HEADER_BYTES;
  }

  #greeting(): void {
    if (!this.#hasMagic(0, NBDMAGIC)) throw protocolError('it does not greet as one');
    const flags = this.#view.getUint16(16);
    if (!this.#hasMagic(8, IHAVEOPT) || (flags & NbdHandshakeFlag.NBD_FLAG_FIXED_NEWSTYLE) === 0) {
      throw new BlockBackendError(
        'NOT_SUPPORTED',
        'the NBD server does not negotiate (fixed newstyle)',
        'use a newer one',
      );
    }
    const ours = NbdHandshakeFlag.NBD_FLAG_FIXED_NEWSTYLE | NbdHandshakeFlag.NBD_FLAG_NO_ZEROES;
    const answer = new Uint8Array(4);
    new DataView(answer.buffer).setUint32(0, flags & ours);
    this.#events.send(answer);
    this.#ask(NbdOption.NBD_OPT_STRUCTURED_REPLY, new Uint8Array(0));
  }

  /** Answers how many bytes of data follow the header, and expects them. */
  #replyHeader(): number {
    if (!this.#hasMagic(0, OPTION_REPLY_MAGIC)) throw protocolError('an option has no proper reply');
    if (this.#view.getUint32(8) !== this.#option) throw protocolError('it replies to what was not asked');
    if (++this.#replies > MAX_REPLIES) throw protocolError('its replies do not end');
    const lengthBytes = this.#view.getUint32(16);
    if (lengthBytes > MAX_REPLY_BYTES) throw protocolError('a reply is too long');
    this.#expected = REPLY_HEADER_BYTES + lengthBytes;
    return lengthBytes;
  }

  #reply(): void {
    const type = this.#view.getUint32(12);
    if (this.#option === NbdOption.NBD_OPT_STRUCTURED_REPLY) this.#structuredReply(type);
    else if (type === NbdOptionReply.NBD_REP_INFO) this.#information();
    else if (type === NbdOptionReply.NBD_REP_ACK) this.#finish();
    else throw this.#refusal(type);
  }

  /** A server that does not know them, or does not want to, sends simple ones. */
  #structuredReply(type: number): void {
    if (type < NBD_REP_FLAG_ERROR && type !== NbdOptionReply.NBD_REP_ACK) {
      throw protocolError('an option has no proper reply');
    }
    if (type === NbdOptionReply.NBD_REP_ERR_TLS_REQD || type === NbdOptionReply.NBD_REP_ERR_SHUTDOWN) {
      throw this.#refusal(type);
    }
    this.#structured = type === NbdOptionReply.NBD_REP_ACK;
    this.#ask(NbdOption.NBD_OPT_GO, this.#goData());
  }

  /** length[4] name[length] count[2] information[2 × count] */
  #goData(): Uint8Array {
    const name = new TextEncoder().encode(this.#exportName);
    const data = new Uint8Array(name.length + 8);
    const view = new DataView(data.buffer);
    view.setUint32(0, name.length);
    data.set(name, 4);
    view.setUint16(4 + name.length, 1);
    view.setUint16(6 + name.length, NbdInfo.NBD_INFO_BLOCK_SIZE);
    return data;
  }

  /** type[2], then size[8] flags[2] of an export, minimum[4] preferred[4] maximum[4] of its blocks, or what is of no interest. */
  #information(): void {
    const view = this.#view;
    const data = REPLY_HEADER_BYTES;
    const lengthBytes = this.#length - data;
    if (lengthBytes < 2) throw protocolError('information has no type');
    const type = view.getUint16(data);
    if (type === NbdInfo.NBD_INFO_EXPORT) {
      if (lengthBytes !== 12) throw protocolError('information has a wrong length');
      this.#size = view.getUint32(data + 2) * TWO_POW_32 + view.getUint32(data + 6);
      this.#flags = view.getUint16(data + 10);
    } else if (type === NbdInfo.NBD_INFO_BLOCK_SIZE) {
      if (lengthBytes !== 14) throw protocolError('information has a wrong length');
      this.#blockSizes = {
        minimum: view.getUint32(data + 2),
        preferred: view.getUint32(data + 6),
        maximum: view.getUint32(data + 10),
      };
    }
  }

  #finish(): void {
    if (this.#size === undefined) throw protocolError('it says nothing about the export');
    const info = exportInfo(this.#size, this.#flags, this.#blockSizes, this.#structured);
    this.#done = true;
    this.#events.done(info);
  }

  /** magic[8] option[4] length[4] data[length] */
  #ask(option: number, data: Uint8Array): void {
    const message = new Uint8Array(16 + data.length);
    const view = new DataView(message.buffer);
    view.setUint32(0, IHAVEOPT.high);
    view.setUint32(4, IHAVEOPT.low);
    view.setUint32(8, option);
    view.setUint32(12, data.length);
    message.set(data, 16);
    this.#option = option;
    this.#replies = 0;
    this.#events.send(message);
  }

  #hasMagic(at: number, magic: { readonly high: number; readonly low: number }): boolean {
    return this.#view.getUint32(at) === magic.high && this.#view.getUint32(at + 4) === magic.low;
  }

  #refusal(type: number): BlockBackendError {
    const name =
      this.#exportName === '' ? 'the default export' : `an export ${JSON.stringify(this.#exportName)}`;
    switch (type) {
      case NbdOptionReply.NBD_REP_ERR_UNKNOWN:
        return new BlockBackendError(
          'BACKEND_MISSING',
          `the NBD server does not have ${name}`,
          'check the name',
        );
      case NbdOptionReply.NBD_REP_ERR_TLS_REQD:
        return new BlockBackendError(
          'NOT_SUPPORTED',
          'the NBD server wants encryption, which this NBD client does not do',
          'reach the server through a tunnel, or over a unix socket',
        );
      case NbdOptionReply.NBD_REP_ERR_UNSUP:
        return new BlockBackendError('NOT_SUPPORTED', 'the NBD server is too old (it has no NBD_OPT_GO)');
      default:
        if (type < NBD_REP_FLAG_ERROR) return protocolError('an option has no proper reply');
        return new BlockBackendError('BACKEND_REFUSED', `the NBD server refuses ${name}${this.#reason()}`);
    }
  }

  /** The server's words, which are for people: nothing in them moves a terminal's cursor. */
  #reason(): string {
    const text = new TextDecoder().decode(this.#buffer.subarray(REPLY_HEADER_BYTES, this.#length));
    // eslint-disable-next-line no-control-regex
    const printable = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ').trim();
    return printable === '' ? '' : `: ${printable}`;
  }
}
