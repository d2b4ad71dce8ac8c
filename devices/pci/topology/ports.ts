/** The ports that hierarchies are made of: root and downstream ports, which have a slot each, and upstream ports. */
import { Bridge } from './bridge.js';
import { PciExpressPort, PciExpressType } from './defs.js';
import { Slot } from './slot.js';
import type { BridgeIdentity } from './type1-header.js';

/** Ids that guests know as generic ports, so that `lspci` has names for them. */
const ROOT_PORT_ID = { vendorId: 0x1b36, deviceId: 0x000c } as const;
const UPSTREAM_PORT_ID = { vendorId: 0x104c, deviceId: 0x8232 } as const;
const DOWNSTREAM_PORT_ID = { vendorId: 0x104c, deviceId: 0x8233 } as const;

export interface SlotPortOptions {
  readonly type: 'root' | 'downstream';
  readonly devfn: number;
  /** 1–8191, unique on the chassis. */
  readonly physicalSlotNumber: number;
  /** True where other ports share the device number. */
  readonly multiFunction: boolean;
}

/** A root port or a switch's downstream port, with the slot at the end of its link. */
export class SlotPort extends Bridge {
  readonly slot: Slot;

  constructor(options: SlotPortOptions) {
    const { type, devfn, physicalSlotNumber, multiFunction } = options;
    const identity = { ...(type === 'root' ? ROOT_PORT_ID : DOWNSTREAM_PORT_ID), multiFunction };
    const { PCI_EXP_TYPE_ROOT_PORT, PCI_EXP_TYPE_DOWNSTREAM } = PciExpressType;
    super({
      devfn,
      identity,
      express: {
        type: type === 'root' ? PCI_EXP_TYPE_ROOT_PORT : PCI_EXP_TYPE_DOWNSTREAM,
        portNumber: devfn,
        physicalSlotNumber,
      },
    });
    this.slot = new Slot(physicalSlotNumber, this.space, this.express, {
      linkUp: (functions) => functions.forEach((fn) => this.secondary.add(fn)),
      linkDown: (functions) => functions.forEach((fn) => this.secondary.remove(fn)),
      interrupt: (pending) => this.setInterrupt(pending),
    });
  }

  get reachesDevice0Only(): boolean {
    const control = this.space.get(this.express + PciExpressPort.PCI_EXP_DEVCTL2, 2);
    return (control & PciExpressPort.PCI_EXP_DEVCTL2_ARI) === 0;
  }

  protected startBelow(): void {
    this.slot.portUp();
  }

  protected stopBelow(): void {
    this.slot.portDown();
  }

  protected resetBelow(held: boolean): void {
    this.slot.holdInReset(held);
  }
}

/** A switch's upstream port: its secondary bus is the inside of the switch. */
export class UpstreamPort extends Bridge {
  readonly downstreamPorts: readonly SlotPort[];

  constructor(downstreamPorts: readonly SlotPort[]) {
    const identity: BridgeIdentity = { ...UPSTREAM_PORT_ID, multiFunction: false };
    super({ devfn: 0, identity, express: { type: PciExpressType.PCI_EXP_TYPE_UPSTREAM, portNumber: 0 } });
    this.downstreamPorts = downstreamPorts;
  }

  get reachesDevice0Only(): boolean {
    return false;
  }

  protected startBelow(): void {
    for (const port of this.downstreamPorts) this.secondary.add(port);
  }

  protected stopBelow(): void {
    for (const port of this.downstreamPorts) this.secondary.remove(port);
  }

  protected resetBelow(held: boolean): void {
    if (held) this.stopBelow();
    else this.startBelow();
  }
}
