/** Gives frames a VLAN tag, another one, or none (IEEE 802.1Q). */
import { EthernetField, EtherType, putU16, u16At, VLAN_ID_MASK, VLAN_TAG_BYTES } from '../ethernet.js';
import { Frame, HEAD_BYTES } from '../frame.js';

export class VlanTagger {
  readonly #head = new Uint8Array(HEAD_BYTES + VLAN_TAG_BYTES);
  readonly #frame = new Frame();

  /** The frame with a tag for `vlan`, whether or not it has one. Good until the next call. */
  tagged(frame: Frame, vlan: number): Frame {
    if (!isTagged(frame)) {
      putU16(this.#head, EthernetField.TYPE, EtherType.VLAN);
      putU16(this.#head, EthernetField.TAG_CONTROL, vlan);
      return this.#spliced(frame, EthernetField.TYPE, VLAN_TAG_BYTES);
    }
    const control = u16At(frame.head, frame.headOffset + EthernetField.TAG_CONTROL);
    if ((control & VLAN_ID_MASK) === vlan) return frame;
    // The priority above the number stays.
    const tagged = this.#spliced(frame, 0, 0);
    putU16(this.#head, EthernetField.TAG_CONTROL, (control & ~VLAN_ID_MASK) | vlan);
    return tagged;
  }

  /** The frame without its first tag, if it has one. Good until the next call. */
  untagged(frame: Frame): Frame {
    return isTagged(frame) ? this.#spliced(frame, EthernetField.TYPE, -VLAN_TAG_BYTES) : frame;
  }

  /** A frame whose start is a copy, in which `shift` bytes come in at `at`, or go there where it is negative. */
  #spliced(frame: Frame, at: number, shift: number): Frame {
    const from = at + Math.max(-shift, 0);
    const to = at + Math.max(shift, 0);
    frame.data.gather(0, this.#head, 0, at);
    const copied = frame.data.gather(from, this.#head, to, HEAD_BYTES - at);
    const result = this.#frame;
    result.copyWork(frame);
    if (frame.needsChecksum) result.csumStart += shift;
    result.data.clear();
    result.data.push(this.#head, 0, to + copied, 0);
    frame.data.appendTo(result.data, from + copied);
    return result;
  }
}

/** Whether the frame has a tag, which may be one of priority alone. */
export function isTagged(frame: Frame): boolean {
  if (frame.headBytes < EthernetField.TYPE + 2 + VLAN_TAG_BYTES) return false;
  return u16At(frame.head, frame.headOffset + EthernetField.TYPE) === EtherType.VLAN;
}

/** The VLAN that a frame's tag names; 0 where it has none, or one of priority alone. */
export function taggedVlan(frame: Frame): number {
  if (!isTagged(frame)) return 0;
  return u16At(frame.head, frame.headOffset + EthernetField.TAG_CONTROL) & VLAN_ID_MASK;
}
