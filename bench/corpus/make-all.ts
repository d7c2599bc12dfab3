/** `node bench/corpus/make-all.ts [NAME…]` makes layers of the corpus that are not there yet and prints where they are. */

import { corpusLayers, layerNames, type LayerName } from './index.ts';

const named = process.argv.slice(2);
const chosen = layerNames.filter((name) => named.length === 0 || named.includes(name));
for (const name of chosen satisfies readonly LayerName[]) {
  for (const tar of await corpusLayers(name)) process.stdout.write(`${name} ${tar}\n`);
}
