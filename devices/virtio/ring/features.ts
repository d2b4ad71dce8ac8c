/** Whether `bit` is among the features that were negotiated. For set-up: hot paths keep booleans. */
export function hasFeature(features: bigint, bit: number): boolean {
  return ((features >> BigInt(bit)) & 1n) === 1n;
}
