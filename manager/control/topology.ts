/** What of a chassis's hierarchy crosses the API: its plan before boot, and the tree as it is. */
import { Type, type Static } from '@sinclair/typebox';

const STRICT = { additionalProperties: false };

/** VMMs whose rules the planner knows. */
export const VmmType = Type.Union([
  Type.Literal('qemu'),
  Type.Literal('cloud-hypervisor'),
  Type.Literal('in-process'),
]);
export type VmmType = Static<typeof VmmType>;

/** VMMs that the daemon drives. */
export const DrivenVmm = Type.Exclude(VmmType, Type.Literal('in-process'));
export type DrivenVmm = Static<typeof DrivenVmm>;

/**
 * What carries a mount: a PCI function of its own, a queue of a multiplexing device, or a directory of the chassis's one multiplexing
 * mount (the tree). 'auto': a function while slots are free, then the tree.
 */
export const Via = Type.Union([
  Type.Literal('auto'),
  Type.Literal('function'),
  Type.Literal('queue'),
  Type.Literal('tree'),
]);
export type Via = Static<typeof Via>;

export const PlanRequest = Type.Object(
  {
    mounts: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    via: Type.Union(Via.anyOf, { default: 'auto' }),
    vmm: Type.Union(VmmType.anyOf, { default: 'qemu' }),
    /** The chassis that is to take them, beside what it has. Without it: a chassis made for them. */
    chassis: Type.Optional(Type.String()),
  },
  STRICT,
);
export type PlanRequest = Static<typeof PlanRequest>;

/** A layout that takes the mounts, and what it leaves. */
export const Plan = Type.Object({
  vmm: VmmType,
  via: Type.Exclude(Via, Type.Literal('auto')),
  mounts: Type.Integer(),
  slots: Type.Integer(),
  functionsPerSlot: Type.Integer(),
  /** Switches or segments that the slots need, beyond those on the root complex. */
  extensions: Type.Integer(),
  extensionKind: Type.String(),
  growsWhileRunning: Type.Boolean(),
  /** Mounts that the layout takes where as many as fit a slot are attached together, and of these the ones that are left. */
  room: Type.Integer(),
  left: Type.Integer(),
  /** Mounts that it takes where each is attached by itself, to come and go alone. */
  oneByOne: Type.Integer(),
});
export type Plan = Static<typeof Plan>;

/** One node of the hierarchy, with what is below it. */
export const TopologyNode = Type.Recursive(
  (This) =>
    Type.Object({
      /** A disk or network card is a function; one of kind 'function' carries a mount, or the tree. */
      kind: Type.Union([
        Type.Literal('root-complex'),
        Type.Literal('root-port'),
        Type.Literal('switch'),
        Type.Literal('downstream-port'),
        Type.Literal('function'),
        Type.Literal('mount'),
        Type.Literal('disk'),
        Type.Literal('card'),
      ]),
      /** Device and function numbers on the bus that it sits on, as lspci writes them: `10.0`. */
      address: Type.Optional(Type.String()),
      /** Of a port: the chassis's slot behind it. Cloud Hypervisor has no ports: there it is a place on the bus, without an address. */
      slot: Type.Optional(Type.Integer()),
      /** Of a mount on a queue: which one, from 0. */
      queue: Type.Optional(Type.Integer()),
      /** Of a function or mount; a disk's or card's name. */
      tag: Type.Optional(Type.String()),
      state: Type.Optional(Type.String()),
      /** What a mount shows, a disk is kept in, or a card is plugged into, in words. */
      source: Type.Optional(Type.String()),
      /** Where in the guest a mount of the tree is wanted. */
      target: Type.Optional(Type.String()),
      children: Type.Array(This),
    }),
  { $id: 'TopologyNode' },
);
export type TopologyNode = Static<typeof TopologyNode>;

/** Query of what a guest is to be given, so that it mounts what is wanted by itself. */
export const GuestSetupQuery = Type.Object(
  {
    /** Commands to type, a systemd unit, or the udev rule that starts the unit. */
    format: Type.Union([Type.Literal('helper'), Type.Literal('systemd'), Type.Literal('udev')], {
      default: 'helper',
    }),
    /** The helper is to run commands for the host, as root. */
    exec: Type.Boolean({ default: false }),
  },
  STRICT,
);
export type GuestSetupQuery = Static<typeof GuestSetupQuery>;
export const GuestSetup = Type.Object({
  text: Type.String(),
  /** Where the text goes in the guest; absent where it is to be typed. */
  path: Type.Optional(Type.String()),
});
export type GuestSetup = Static<typeof GuestSetup>;
