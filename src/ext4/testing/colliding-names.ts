/**
 * For tests: 47 names of 255 bytes that all have one hash in our directories, found by trying 2^36 names of this form. A
 * block holds fifteen of them, so four leaves of a hash tree have the same hash.
 */

import { byteString, type ByteString } from '../../base/index.ts';

export const collidingHash = 0x80000012;

export const collidingNames: readonly ByteString[] = (
  'Ufvl1k Ao-84w ci_b5d CqZI5P Bcvt6N 4Fuf7p SYrE9w sq6YbT Kas-cr 1zlbhu PkXshF KezfjO x1b0kd RFkSmf 5HU8nU G6Pwo0 ' +
  '99bDoD nswdpQ uVAjvI 2aFaw5 nyL2we lYc3x8 BIZqxh n6RzxP ukhHyE -fJWyV 7aKyy_ DFxQy_ ibMnzL uDGrBg Y7X_Co -e8hCO ' +
  'pGZaDZ 7lfdEf XavIE- WyVrFJ xvbpJ4 -EsRJv eC_gKx 4GqRMv 6rUBMT PiqrOJ dTYOPN JzbkT1 so-ZTp fz86TN XqvmZj'
)
  .split(' ')
  .map((six) => byteString(`${'c'.repeat(244)}${six.slice(0, 4)}cc${six.slice(4)}ccc`));
