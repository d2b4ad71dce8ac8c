/** Writes schemas/manifest.schema.json, for editors of manifests. Part of the build. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { manifestJsonSchema } from './apply/manifest/schema.js';

const folder = fileURLToPath(new URL('../../schemas', import.meta.url));
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}/manifest.schema.json`, `${JSON.stringify(manifestJsonSchema(), null, 2)}\n`);
