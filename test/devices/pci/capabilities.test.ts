import { describe, expect, it } from 'vitest';
import { CapabilityList } from '../../../devices/pci/capabilities.js';
import { ConfigSpace } from '../../../devices/pci/config-space.js';
import { MsixTable } from '../../../devices/pci/msix.js';

/** The capability ids and places that a guest's walk finds. */
function walk(space: ConfigSpace): [number, number][] {
  const found: [number, number][] = [];
  for (let at = space.read(0x34, 1); at !== 0 && found.length < 64; at = space.read(at + 1, 1)) {
    found.push([space.read(at, 1), at]);
  }
  return found;
}

describe('a capability list', () => {
  it('is announced by the status bit once it has one, not before', () => {
    const space = new ConfigSpace();
    const list = new CapabilityList(space);
    expect(space.read(0x06, 2) & 0x10).toBe(0);
    list.add(0x09, 8);
    expect(space.read(0x06, 2) & 0x10).toBe(0x10);
  });

  it('is found in order by walking, aligned and apart', () => {
    const space = new ConfigSpace();
    const list = new CapabilityList(space);
    list.addVendorSpecific(new Uint8Array([1, 2]));
    list.addVendorSpecific(new Uint8Array([3]));
    list.addExpressEndpoint(() => {});
    expect(walk(space)).toEqual([
      [0x09, 0x40],
      [0x09, 0x48],
      [0x10, 0x4c],
    ]);
    expect(space.read(0x42, 1)).toBe(5);
    expect([space.read(0x43, 1), space.read(0x44, 1)]).toEqual([1, 2]);
  });

  it('refuses what does not fit into the first 256 bytes', () => {
    const list = new CapabilityList(new ConfigSpace());
    list.add(0x09, 0xc0);
    expect(() => list.add(0x09, 4)).toThrow(RangeError);
  });
});

describe('the MSI-X capability', () => {
  function make() {
    const space = new ConfigSpace();
    const table = new MsixTable(3, () => {});
    let changes = 0;
    const layout = { bar: 1, tableOffset: 0, pbaOffset: 0x800 };
    const at = new CapabilityList(space).addMsix(table, layout, () => changes++);
    return { space, table, at, changes: () => changes };
  }

  it('names the table, the pending bits and the count less one', () => {
    const { space, at } = make();
    expect(space.read(at + 2, 2)).toBe(2);
    expect(space.read(at + 4, 4)).toBe(0x001);
    expect(space.read(at + 8, 4)).toBe(0x801);
  });

  it('lets the guest write enable and function mask, and no other bit', () => {
    const { space, table, at, changes } = make();
    space.write(at + 2, 2, 0xffff);
    expect(space.read(at + 2, 2)).toBe(0xc002);
    expect(table.enabled).toBe(true);
    space.write(at + 3, 1, 0x00);
    expect(space.read(at + 2, 2)).toBe(0x0002);
    expect(table.enabled).toBe(false);
    space.write(at + 4, 4, 0xffff_ffff);
    expect(space.read(at + 4, 4)).toBe(0x001);
    expect(changes()).toBe(2);
  });
});

describe('the PCI Express capability', () => {
  it('is an endpoint of version 2 that can be reset', () => {
    const space = new ConfigSpace();
    const at = new CapabilityList(space).addExpressEndpoint(() => {});
    expect(space.read(at + 2, 2)).toBe(0x0002);
    expect(space.read(at + 4, 4)).toBe(0x1000_8000);
    expect(space.read(0x100, 4)).toBe(0);
  });

  it('is a legacy endpoint where the function has I/O BARs', () => {
    const space = new ConfigSpace();
    const at = new CapabilityList(space).addExpressEndpoint(() => {}, true);
    expect(space.read(at + 2, 2)).toBe(0x0012);
  });

  it('starts a function-level reset by its bit, which never reads 1', () => {
    const space = new ConfigSpace();
    let resets = 0;
    const at = new CapabilityList(space).addExpressEndpoint(() => resets++);
    space.write(at + 8, 2, 0x2810);
    expect(resets).toBe(0);
    space.write(at + 8, 2, 0xa810);
    expect(resets).toBe(1);
    expect(space.read(at + 8, 2)).toBe(0x2810);
    space.write(at + 8, 4, 0x000f_8000);
    expect(resets).toBe(2);
  });

  it('clears device status errors by writing 1', () => {
    const space = new ConfigSpace();
    const at = new CapabilityList(space).addExpressEndpoint(() => {});
    space.set(at + 0xa, 2, 0x002f);
    space.write(at + 0xa, 2, 0x0005);
    expect(space.read(at + 0xa, 2)).toBe(0x002a);
  });
});
