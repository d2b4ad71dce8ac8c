/** Byte strings as NUL-terminated bytes in memory that system calls read: the gate that every name of the guest passes. */
import { addressOf } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { ByteString } from '../file-system.js';

const NAME_MAX_BYTES = 255;
/** PATH_MAX without its NUL: the longest link target. */
const PATH_MAX_BYTES = 4095;
const SLASH = 0x2f;

export class NameBuffer {
  /** Where the encoded bytes lie. */
  readonly address: number;
  readonly #bytes = new Uint8Array(PATH_MAX_BYTES + 1);

  constructor() {
    this.address = addressOf(this.#bytes);
  }

  /**
   * One component of a path, which can lead nowhere but to an entry of the directory it is looked up in: the server has refused
   * '/', NUL, '.' and '..' before, and this refuses them again. 0, -EINVAL, -ENOENT for an empty name, or -ENAMETOOLONG.
   */
  setName(name: ByteString): number {
    if (name.length > NAME_MAX_BYTES) return -Errno.ENAMETOOLONG;
    if (name === '') return -Errno.ENOENT;
    if (name === '.' || name === '..') return -Errno.EINVAL;
    return this.#set(name, SLASH);
  }

  /** A link's target: any bytes without NUL. 0, -EINVAL, -ENOENT for an empty one, or -ENAMETOOLONG. */
  setTarget(target: ByteString): number {
    if (target.length > PATH_MAX_BYTES) return -Errno.ENAMETOOLONG;
    if (target === '') return -Errno.ENOENT;
    return this.#set(target, 0);
  }

  /** The name of an extended attribute. 0, -EINVAL, or -ERANGE as setxattr(2) says of long ones. */
  setAttributeName(name: ByteString): number {
    if (name.length > NAME_MAX_BYTES) return -Errno.ERANGE;
    return this.#set(name, 0);
  }

  #set(text: ByteString, forbidden: number): number {
    const bytes = this.#bytes;
    for (let i = 0; i < text.length; i++) {
      const byte = text.charCodeAt(i);
      if (byte === 0 || byte === forbidden || byte > 0xff) return -Errno.EINVAL;
      bytes[i] = byte;
    }
    bytes[text.length] = 0;
    return 0;
  }
}
