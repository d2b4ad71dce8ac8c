/**
 * What a manifest may say. Made of the API's schemas, so that a manifest has what a request has, under the same names and within the same
 * bounds. What the command line takes as one word (directories, sizes, owners) is one word here, too.
 *
 * Descriptions read as what is expected there: editors show them, and errors say them.
 */
import {
  Type,
  type Static,
  type TObject,
  type TOptional,
  type TProperties,
  type TSchema,
} from '@sinclair/typebox';
import {
  AddCardRequest,
  AddDiskRequest,
  AttachRequest,
  CardName,
  ChassisName,
  CreateChassisRequest,
  DiskName,
  MountRequest,
  Network,
  Policy,
  Tag,
} from '../../../manager/control/api.js';

const STRICT = { additionalProperties: false };

/** More than any chassis carries (the tree's 65,536). */
const ENTRIES_MAX = 70_000;

/** Keys are names, so that a name cannot be there twice. */
function named<T extends TSchema>(name: TSchema, entry: T, description: string) {
  return Type.Record(Type.String(), entry, { propertyNames: name, maxProperties: ENTRIES_MAX, description });
}

/** Properties of a request that may be left out here, as there they have defaults. */
function optional<T extends TProperties, K extends keyof T & string>(properties: T, ...names: K[]) {
  const picked = names.map((name) => [name, Type.Optional(properties[name])]);
  return Object.fromEntries(picked) as { [P in K]: TOptional<T[P]> };
}

const PATH_MAX = 4096;

const Size = Type.Union(
  [
    Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    Type.String({ pattern: '^[0-9]+([KMGTkmgt](iB)?)?$' }),
  ],
  { description: 'bytes, or a number with K, M, G or T: 512M' },
);

export const ManifestPolicy = Type.Object(
  { ...Policy.properties, maxBytes: Type.Optional(Size) },
  { ...STRICT, description: 'what guests may see, and how much they may have' },
);

export const ManifestMount = Type.Object(
  {
    source: Type.String({
      minLength: 1,
      maxLength: PATH_MAX,
      description: 'a directory, from the folder of the manifest on, or "mem:"',
    }),
    ...optional(MountRequest.properties, 'readOnly', 'target', 'watch'),
    policy: Type.Optional(ManifestPolicy),
    owner: Type.Optional(
      Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1, maxItems: 340 })], {
        description: '"mapped", "squash:UID:GID[:HOST_UID:HOST_GID]", or a list of "range:FROM:HOST:COUNT"',
      }),
    ),
    overlay: Type.Optional(
      Type.Union([Type.Boolean(), Type.String({ minLength: 1, maxLength: PATH_MAX })], {
        description: 'true, a folder for the changes, or "mem:"',
      }),
    ),
    ...optional(AttachRequest.properties, 'via', 'slot', 'permanent', 'port'),
  },
  { ...STRICT, description: 'a mount, which has a source at least' },
);
export type ManifestMount = Static<typeof ManifestMount>;

export const ManifestDisk = Type.Object(
  {
    source: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 8192,
        description: 'an image, from the folder of the manifest on, mem:SIZE, or an NBD address',
      }),
    ),
    cloudInit: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: PATH_MAX,
        description: "in place of a source: a file with the guest's user data",
      }),
    ),
    size: Type.Optional(Size),
    ...optional(
      AddDiskRequest.properties,
      'readOnly',
      'overlay',
      'overlayDirectory',
      'serial',
      'queues',
      'slot',
      'permanent',
      'port',
    ),
  },
  { ...STRICT, description: 'a disk, which has a source or cloudInit' },
);
export type ManifestDisk = Static<typeof ManifestDisk>;

/** What has a default may be left out. */
function withDefaults(variant: TObject): TObject {
  const properties = Object.entries(variant.properties).map(([name, property]) => [
    name,
    property.default === undefined ? property : Type.Optional(property),
  ]);
  return Type.Object(Object.fromEntries(properties) as TProperties, STRICT);
}

/** `Network`, as it may be written. */
const ManifestNetwork = Type.Unsafe<Partial<Network> & Pick<Network, 'type'>>(
  Type.Union(Network.anyOf.map(withDefaults), {
    description: 'a network with its type: switch, tap or passt',
  }),
);

export const ManifestCard = Type.Object(
  {
    network: ManifestNetwork,
    ...optional(AddCardRequest.properties, 'mac', 'mtu', 'queuePairs', 'up', 'slot', 'permanent', 'port'),
  },
  { ...STRICT, description: 'a network card, which has a network at least' },
);
export type ManifestCard = Static<typeof ManifestCard>;

const FilePath = Type.String({
  minLength: 1,
  maxLength: PATH_MAX,
  description: 'a path, from the folder of the manifest on',
});

export const ManifestVm = Type.Object(
  {
    qemu: Type.Optional(Type.String({ minLength: 1, description: 'the QEMU to run' })),
    memory: Type.Optional(Size),
    cpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 1024, description: 'virtual CPUs' })),
    accel: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9,=_.-]+$', description: 'a QEMU accelerator' })),
    kernel: Type.Optional(FilePath),
    initrd: Type.Optional(FilePath),
    append: Type.Optional(Type.String({ maxLength: 4096, description: 'a kernel command line' })),
    disks: Type.Optional(Type.Array(FilePath, { maxItems: 16, description: 'disk images' })),
    console: Type.Optional(FilePath),
    args: Type.Optional(
      Type.Array(Type.String({ maxLength: 8192 }), {
        maxItems: 256,
        description: 'further arguments of QEMU',
      }),
    ),
  },
  { ...STRICT, description: 'how the VM is started where none runs' },
);
export type ManifestVm = Static<typeof ManifestVm>;

export const When = Type.Union([Type.Literal('once'), Type.Literal('changed'), Type.Literal('always')], {
  description: 'once, changed or always',
});

export const ManifestStep = Type.Object(
  {
    name: Type.String({
      pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
      description:
        'a name of up to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
    }),
    run: Type.Optional(Type.String({ minLength: 1, maxLength: 1 << 20, description: 'a shell script' })),
    script: Type.Optional(FilePath),
    copy: Type.Optional(
      Type.Object(
        {
          from: FilePath,
          to: Type.String({ pattern: '^/', maxLength: 4095, description: 'an absolute path in the guest' }),
        },
        { ...STRICT, description: 'from and to' },
      ),
    ),
    when: Type.Optional(When),
    user: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$',
        description: "a user's name in the guest",
      }),
    ),
    timeout: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400, description: 'seconds' })),
  },
  { ...STRICT, description: 'a step, with a name and one of run, script and copy' },
);
export type ManifestStep = Static<typeof ManifestStep>;

export const ManifestChassis = Type.Object(
  {
    ...optional(CreateChassisRequest.properties, 'slots', 'vmm'),
    apiSocket: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: PATH_MAX,
        description: 'where Cloud Hypervisor serves its API, from the folder of the manifest on',
      }),
    ),
    vm: Type.Optional(ManifestVm),
    provision: Type.Optional(
      Type.Array(ManifestStep, { maxItems: 256, description: 'steps, done in order' }),
    ),
    mounts: Type.Optional(named(Tag, ManifestMount, 'mounts by their tags')),
    disks: Type.Optional(named(DiskName, ManifestDisk, 'disks by their names')),
    cards: Type.Optional(named(CardName, ManifestCard, 'network cards by their names')),
  },
  {
    ...STRICT,
    description:
      'a chassis: slots, vmm, apiSocket, mounts, disks, cards, vm, provision, or {} for an empty one',
  },
);
export type ManifestChassis = Static<typeof ManifestChassis>;

export const Manifest = Type.Object(
  {
    name: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
        description:
          'a name of up to 64 letters, digits, dots, dashes and underscores, a letter or digit first',
      }),
    ),
    chassis: named(ChassisName, ManifestChassis, 'chassis by their names'),
  },
  {
    ...STRICT,
    title: 'A manifest of chassis, for `chassis apply`',
    description: 'a manifest, which has chassis',
  },
);
export type Manifest = Static<typeof Manifest>;

/** For editors and other programs: JSON Schema, draft 2020-12. */
export function manifestJsonSchema(): unknown {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    ...(JSON.parse(JSON.stringify(Manifest)) as object),
  };
}
