/** The registers that a driver uses. */
export type DriverInterface = 'modern' | 'legacy';

/** How far a driver has come with its device. */
export interface DriverProgress {
  /** Undefined before the first write. */
  readonly interface: DriverInterface | undefined;
  /** `device_status` bits, whatever a reset under way makes the register read. */
  readonly status: number;
  /** The driver has done its part: the device is at work, or was until a fault, or will be once it is done with a reset. */
  readonly started: boolean;
  readonly faulted: boolean;
}
