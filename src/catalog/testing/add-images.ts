/**
 * A process of its own for tests: `add-images.ts PATH PREFIX COUNT` prints the id of each image
 * once it is added.
 */

import { openCatalog } from '../sqlite-catalog.ts';
import { imageRecord, manifestIdOf } from './records.ts';

const [path = '', prefix = '', count = '0'] = process.argv.slice(2);
await using catalog = await openCatalog(path);
for (let number = 0; number < Number(count); number += 1) {
  const image = await catalog.addImage(
    imageRecord({ tenant: prefix, manifestId: manifestIdOf(number, prefix) }),
  );
  process.stdout.write(`${image.manifestId}\n`);
}
