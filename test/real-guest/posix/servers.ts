/** Who serves a directory of the host's to the guest, and for comparison a file system of the guest's own. */
export const SERVERS = ['chassis', 'qemu', 'virtiofsd', 'tmpfs'] as const;
export type ServerName = (typeof SERVERS)[number];

/** As the tables call them. */
export const TITLES: Readonly<Record<ServerName, string>> = {
  chassis: 'Chassis',
  qemu: "QEMU's 9p",
  virtiofsd: 'virtiofsd',
  tmpfs: "guest's tmpfs",
};
