/**
 * What the daemon and a device process say to each other: one JSON object a line, over a unix socket. The daemon asks, the
 * process answers by id and reports connections on its own.
 */
import { Type, type Static } from '@sinclair/typebox';
import { ErrorBody, FunctionCounters, Port, Source } from '../control/api.js';

/** Lines are short: paths, tags, and the counters of at most 512 functions. */
export const MAX_LINE_BYTES = 1 << 20;
/** What the process writes to its standard output once it listens. */
export const READY_LINE = 'ready';

/** A device to make, and what it shows. */
export const DeviceSpec = Type.Object({
  type: Type.Literal('9p'),
  tag: Type.String(),
  /** Without it, no guest can mount it for now. */
  source: Type.Optional(Source),
  readOnly: Type.Boolean(),
});
export type DeviceSpec = Static<typeof DeviceSpec>;

/** What a function is to show from now on; without a source, nothing. */
export const SourceChange = Type.Object({
  function: Type.String(),
  source: Type.Optional(Source),
  readOnly: Type.Boolean(),
});
export type SourceChange = Static<typeof SourceChange>;

/** One PCI function to serve. `function` is its name between the two processes. */
export const FunctionSpec = Type.Object({
  function: Type.String(),
  socketPath: Type.String(),
  port: Port,
  /** Over vfio-user, false: no MSI-X capability, interrupts by INTx alone. Over vhost-user that is the VMM's affair. */
  msix: Type.Boolean(),
  device: DeviceSpec,
});
export type FunctionSpec = Static<typeof FunctionSpec>;

const Id = Type.Integer({ minimum: 1 });
export const Request = Type.Union([
  Type.Object({ id: Id, method: Type.Literal('addFunction'), params: FunctionSpec }),
  Type.Object({
    id: Id,
    method: Type.Literal('removeFunction'),
    params: Type.Object({ function: Type.String() }),
  }),
  Type.Object({ id: Id, method: Type.Literal('setSource'), params: SourceChange }),
  Type.Object({ id: Id, method: Type.Literal('status'), params: Type.Object({}) }),
]);
export type Request = Static<typeof Request>;

export const FunctionStatus = Type.Object({
  function: Type.String(),
  /** A VMM has it open. */
  connected: Type.Boolean(),
  counters: FunctionCounters,
});
export type FunctionStatus = Static<typeof FunctionStatus>;

export const Status = Type.Object({ functions: Type.Array(FunctionStatus) });
export type Status = Static<typeof Status>;

export const Report = Type.Union([
  Type.Object({ id: Id, result: Type.Unknown() }),
  Type.Object({ id: Id, error: ErrorBody }),
  /** A VMM opened the function, or left it. */
  Type.Object({
    event: Type.Union([Type.Literal('connected'), Type.Literal('disconnected')]),
    function: Type.String(),
  }),
]);
export type Report = Static<typeof Report>;
