/**
 * What another process needs to go on for one that was killed, with a client that notices nothing: in parts, each of which is told again when a message
 * has changed it. What registers say is not in them but in a memory file (see `kept-function.ts`), and where rings stand is in guest memory and in
 * their records. Numbers `fd` are those of a part's own descriptors.
 */
import { getSystemErrorName } from 'node:util';
import { Type, type Static } from '@sinclair/typebox';
import { closeFd } from '../../../host/index.js';
import { dataAs } from '../../device-process/hand-over/movable.js';
import { part, takePart, type KeptParts, type ToldPart } from '../keeping/told.js';
import type { DmaMaps } from './dma.js';
import type { IrqTable } from './irqs.js';
import { ConnectionState, DmaMapState, IrqState } from './port-state.js';
import { REGION_ACCESS_BYTES, VFIO_USER_HEADER_BYTES, VfioUserCommand as Command } from './protocol.js';
import type { WireReader } from './wire.js';

/** Names of parts. */
export const KeptPart = { SESSION: 'session', MEMORY: 'memory', IRQS: 'irqs', FUNCTION: 'function' } as const;

export const KeptSession = Type.Pick(ConnectionState, ['negotiated', 'announced']);
export type KeptSession = Static<typeof KeptSession>;

/** `fd` of a map is that of its file, which other maps may have, too. */
export const KeptMemory = Type.Object({ maps: Type.Array(DmaMapState) });
export type KeptMemory = Static<typeof KeptMemory>;

/** More maps than that are none that a guest with its firmware comes to, and each change of one tells all of them. */
export const MAX_KEPT_MAPS = 512;
/** What the smallest pipe takes. */
const MAX_ANSWER_BYTES = 8192;
const SET_IRQS_FLAGS_OFFSET = 4;
const SET_IRQS_COUNT_OFFSET = 16;

/**
 * The part that a message is about. Undefined for one that changes nothing beside registers, and may be served once more after all that it has done:
 * accesses to registers are, doorbells and reads that clear ISR status among them (see `keep.ts`).
 */
export function partOf(
  command: number,
  payload: WireReader,
  fdCount: number,
  irqs: IrqTable,
): string | undefined {
  switch (command) {
    case Command.VFIO_USER_DMA_MAP:
    case Command.VFIO_USER_DMA_UNMAP:
      return KeptPart.MEMORY;
    case Command.VFIO_USER_DEVICE_SET_IRQS:
      if (fdCount > 0 || irqs.changesBy(...irqSetOf(payload))) return KeptPart.IRQS;
      return undefined;
    case Command.VFIO_USER_VERSION:
      return KeptPart.SESSION;
    default:
      // Nobody is to have descriptors with this; taking them out of the socket takes more than one step.
      return fdCount > 0 ? KeptPart.SESSION : undefined;
  }
}

/** Whether a message is answered by more than the pipe holds. */
export function isAnsweredAtLength(command: number, payload: WireReader): boolean {
  if (command !== Command.VFIO_USER_REGION_READ) return false;
  const start = payload.mark();
  payload.skip(REGION_ACCESS_BYTES - 4);
  const count = payload.u32();
  payload.rewind(start);
  return VFIO_USER_HEADER_BYTES + REGION_ACCESS_BYTES + count > MAX_ANSWER_BYTES;
}

/** argsz[4] flags[4] index[4] start[4] count[4] */
function irqSetOf(payload: WireReader): [flags: number, count: number] {
  const start = payload.mark();
  payload.skip(SET_IRQS_FLAGS_OFFSET);
  const flags = payload.u32();
  payload.skip(SET_IRQS_COUNT_OFFSET - SET_IRQS_FLAGS_OFFSET - 4);
  const count = payload.u32();
  payload.rewind(start);
  return [flags, count];
}

export function memoryPart(dma: DmaMaps): ToldPart {
  return part(KeptPart.MEMORY, (parcel): KeptMemory => {
    const numbers = new Map<number, number>();
    const numberOf = (fd: number): number => {
      const number = numbers.get(fd) ?? parcel.addFd(fd);
      numbers.set(fd, number);
      return number;
    };
    return { maps: dma.all.map((map) => ({ ...map, fd: map.fd < 0 ? null : numberOf(map.fd) })) };
  });
}

export function irqsPart(irqs: IrqTable): ToldPart {
  return part(KeptPart.IRQS, (parcel): IrqState => irqs.keep(parcel));
}

/** Answers why it cannot be. @throws ParcelError */
export function restoreMemory(parts: KeptParts, dma: DmaMaps): string | undefined {
  const { data, parcel } = takePart(parts, KeptPart.MEMORY);
  const { maps } = dataAs(KeptMemory, data);
  const files = new Map<number, number>();
  try {
    for (const { fd, flags, offset, address, sizeBytes } of maps) {
      if (fd !== null && !files.has(fd)) files.set(fd, parcel.takeFd(fd));
      const file = fd === null ? -1 : (files.get(fd) ?? -1);
      const error = dma.map(flags, offset, address, sizeBytes, file);
      if (error !== 0) return `the memory of its VMM cannot be mapped: ${getSystemErrorName(error)}`;
    }
    return undefined;
  } finally {
    for (const file of files.values()) closeFd(file);
  }
}

/** Answers why it cannot be. @throws ParcelError */
export function restoreIrqs(parts: KeptParts, irqs: IrqTable): string | undefined {
  const { data, parcel } = takePart(parts, KeptPart.IRQS);
  const isRestored = irqs.restore(dataAs(IrqState, data), parcel);
  return isRestored ? undefined : 'it has another number of interrupts';
}
