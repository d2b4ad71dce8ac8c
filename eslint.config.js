import js from '@eslint/js';
import { createNodeResolver, importX } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

/**
 * Who may import whom: files below `target` import nothing below `from`, save what `except` names (relative to `from`).
 * The README draws the layers. Packages are not concerned; `node:` modules are, further down.
 */
const layers = [
  { target: ['cli'], from: '.', except: ['cli', 'manager/control'] },
  {
    target: ['cli/apply/plan'],
    from: '.',
    except: ['cli/apply/plan', 'cli/apply/manifest/problems.ts', 'manager/control/api.ts'],
  },
  { target: ['manager'], from: '.', except: ['manager', 'devices', 'host', 'guest/bus.ts'] },
  { target: ['manager/chassis'], from: '.', except: ['manager/chassis', 'manager/control/api.ts'] },
  { target: ['host'], from: '.', except: ['host'] },
  { target: ['guest'], from: '.', except: ['guest'] },
  { target: ['devices'], from: '.', except: ['devices', 'host'] },
  { target: ['devices/pci'], from: 'devices', except: ['pci'] },
  {
    target: ['devices/virtio'],
    from: 'devices',
    except: [
      'virtio',
      'pci',
      'io-vector.ts',
      'errno.ts',
      'same-bytes.ts',
      'state-descriptors.ts',
      'state-reader.ts',
      'state-writer.ts',
    ],
  },
  { target: ['devices/virtio/memory'], from: 'devices/virtio', except: ['memory'] },
  { target: ['devices/virtio/ring'], from: 'devices/virtio', except: ['ring', 'memory', 'device.ts'] },
  {
    target: ['devices/9p'],
    from: 'devices',
    except: [
      '9p',
      'virtio/device.ts',
      'io-vector.ts',
      'errno.ts',
      'latencies.ts',
      'same-bytes.ts',
      'shell-quote.ts',
      'state-descriptors.ts',
      'state-reader.ts',
      'state-writer.ts',
    ],
  },
  {
    target: ['devices/blk'],
    from: 'devices',
    except: ['blk', 'virtio/device.ts', 'io-vector.ts', 'errno.ts', 'latencies.ts', 'state-descriptors.ts'],
  },
  { target: ['devices/blk/backends'], from: 'devices/virtio', except: [] },
  {
    target: ['devices/net'],
    from: 'devices',
    except: ['net', 'virtio/device.ts', 'io-vector.ts', 'errno.ts', 'state-descriptors.ts'],
  },
  {
    target: ['devices/net/backends', 'devices/net/switch', 'devices/net/offload', 'devices/net/capture'],
    from: 'devices/virtio',
    except: [],
  },
  {
    target: ['devices/9p/protocol', 'devices/9p/server', 'devices/9p/fs'],
    from: 'devices/virtio',
    except: [],
  },
];

/** The only folders of devices/ that reach the operating system: backends on the host's files, devices and networks. */
const HOST_BACKENDS = [
  'devices/9p/fs/host-directory/**',
  'devices/blk/backends/file/**',
  'devices/blk/backends/nbd/**',
  'devices/net/backends/stream/**',
  'devices/net/backends/tap/**',
];

export default tseslint.config(
  { ignores: ['dist', 'node_modules'] },
  js.configs.recommended,
  tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['eslint.config.js', 'bin/chassis.js'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    plugins: { 'import-x': importX },
    settings: {
      'import-x/resolver-next': [createNodeResolver({ extensionAlias: { '.js': ['.ts', '.js'] } })],
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off',
      'import-x/no-restricted-paths': [
        'error',
        {
          basePath: import.meta.dirname,
          zones: layers.map(({ target, from, except }) => ({
            target: target.map((path) => `./${path}`),
            from: `./${from}`,
            except: [...except.map((path) => `./${path}`), ...(from === '.' ? ['./node_modules'] : [])],
            message: 'the layers are listed in eslint.config.js',
          })),
        },
      ],
      eqeqeq: 'error',
    },
  },
  {
    files: ['devices/**/*.ts', 'guest/**/*.ts'],
    ignores: HOST_BACKENDS,
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['node:*', '**/host/**'],
              message: 'devices and guest run without an OS: use an interface',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: { 'import-x/no-restricted-paths': 'off' },
  },
  {
    files: ['eslint.config.js', 'bin/chassis.js', 'examples/**/*.mjs'],
    ...tseslint.configs.disableTypeChecked,
  },
  {
    files: ['examples/**/*.mjs'],
    languageOptions: { globals: { console: 'readonly', process: 'readonly' } },
  },
);
