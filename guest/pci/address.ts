/** Where a function sits. The guest has one PCI segment, 0000. */
export interface PciAddress {
  readonly bus: number;
  readonly device: number;
  readonly fn: number;
}

/** As `lspci` writes it: '0000:00:03.1'. */
export function formatAddress({ bus, device, fn }: PciAddress): string {
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return `0000:${hex(bus)}:${hex(device)}.${fn}`;
}
