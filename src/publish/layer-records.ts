/**
 * The layer records of one tenant in one root, in the object store. Never across tenants: knowing a layer's digest proves nothing, and a
 * registry that answers HEAD for whatever it is asked is quickly written; a tenant who could use another's records would
 * get the content of any layer whose digest he has seen. His own records hold only what he has had.
 */

import { errorMessage, ThawError, type Log } from '../base/index.ts';
import type { KeyService } from '../keys/index.ts';
import type { OciLayer } from '../oci/index.ts';
import { layerRecordObjectName, type ObjectStore } from '../store/index.ts';
import {
  layerRecordName,
  openLayerRecord,
  sealLayerRecord,
  type RecordIdentity,
} from './layer-record-seal.ts';
import { decodeLayerRecord, type LayerRecord, type LayerRecorder } from './layer-record.ts';

export interface LayerRecordsOptions {
  readonly store: ObjectStore;
  readonly keys: KeyService;
  readonly log: Log | undefined;
  /** What all of the records have in common. */
  readonly identity: Omit<RecordIdentity, 'blobDigest' | 'diffId'>;
}

export class LayerRecords {
  readonly #options: LayerRecordsOptions;
  /** Objects that turned out to be no use. */
  readonly #damaged = new Set<string>();

  constructor(options: LayerRecordsOptions) {
    this.#options = options;
  }

  /** What is remembered of the layer. A record that cannot be used is as good as none; the log says so. */
  async recall(layer: OciLayer): Promise<LayerRecord | undefined> {
    const { store, keys } = this.#options;
    const identity = this.#identityOf(layer);
    const name = await this.#objectName(identity);
    const bytes = await store.get(name);
    if (bytes === undefined) return undefined;
    try {
      return await decodeLayerRecord(await openLayerRecord(bytes, identity, keys));
    } catch (thrown) {
      if (!(thrown instanceof ThawError)) throw thrown;
      await this.discard(layer, thrown);
      return undefined;
    }
  }

  /** Stores what was gathered of the layer, in place of a record that was damaged. To be called once its chunks are stored. */
  async remember(layer: OciLayer, recorder: LayerRecorder): Promise<void> {
    const parts = await recorder.finish();
    if (parts === undefined) return;
    const { store, keys } = this.#options;
    const identity = this.#identityOf(layer);
    const bytes = await sealLayerRecord(parts, identity, keys);
    if (bytes.byteLength > store.capabilities.objectSizeMaxBytes) return;
    const name = await this.#objectName(identity);
    if (this.#damaged.has(name)) await store.delete(name);
    await store.putIfAbsent(name, bytes);
  }

  /** Notes that the layer's record is damaged, so that the next one takes its place. */
  async discard(layer: OciLayer, why: unknown): Promise<void> {
    this.#damaged.add(await this.#objectName(this.#identityOf(layer)));
    const fields = { layer: layer.digest, reason: errorMessage(why) };
    this.#options.log?.warn('a layer is read again', fields);
  }

  #identityOf({ digest, diffId }: OciLayer): RecordIdentity {
    return { ...this.#options.identity, blobDigest: digest, diffId };
  }

  async #objectName(identity: RecordIdentity): Promise<string> {
    const salt = await this.#options.keys.salt(identity.rootId);
    return layerRecordObjectName(identity.rootId, layerRecordName(identity, salt));
  }
}
