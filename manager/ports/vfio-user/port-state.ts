/** A vfio-user server at one moment, as data, but for its function. Numbers `fd`, and of bytes, are a parcel's. */
import { Type, type Static } from '@sinclair/typebox';

const Numbered = Type.Integer({ minimum: 0 });
const Count = Type.Integer({ minimum: 0 });
const FdOrNull = Type.Union([Numbered, Type.Null()]);

export const ConnectionState = Type.Object({
  fd: Numbered,
  /** The client's version was agreed, and whoever asked was told. */
  negotiated: Type.Boolean(),
  announced: Type.Boolean(),
  /** Why the connection ends once the last reply is out. */
  closeReason: Type.Union([Type.String(), Type.Null()]),
  /** Read and not served. */
  received: Numbered,
  receivedFds: Type.Array(Numbered, { maxItems: 253 }),
  arrivingFds: Type.Array(Numbered, { maxItems: 253 }),
  /** Of a reply that has not gone out whole. */
  unsent: Numbered,
});
export type ConnectionState = Static<typeof ConnectionState>;

export const IntxState = Type.Object({ masked: Type.Boolean(), trigger: FdOrNull, unmask: FdOrNull });
export type IntxState = Static<typeof IntxState>;

/** `pending`: it fired while it had no eventfd. */
export const VectorState = Type.Object({ fd: FdOrNull, pending: Type.Boolean() });
export type VectorState = Static<typeof VectorState>;

export const IrqState = Type.Object({
  intx: IntxState,
  msix: Type.Array(VectorState),
  err: Type.Array(VectorState),
  req: Type.Array(VectorState),
});
export type IrqState = Static<typeof IrqState>;

/** As VFIO_USER_DMA_MAP says it. */
export const DmaMapState = Type.Object({
  flags: Count,
  offset: Count,
  address: Count,
  sizeBytes: Count,
  fd: FdOrNull,
});
export type DmaMapState = Static<typeof DmaMapState>;

export const VfioUserState = Type.Object({
  listener: Numbered,
  connection: Type.Union([ConnectionState, Type.Null()]),
  dma: Type.Array(DmaMapState),
  irqs: IrqState,
});
export type VfioUserState = Static<typeof VfioUserState>;
