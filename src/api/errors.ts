import { ThawError } from '../base/index.ts';

/** An id or name that names none of the tenant's images. */
export class ImageNotFoundError extends ThawError {
  constructor(tenant: string, id: string) {
    super({
      code: 'ERR_API_IMAGE_NOT_FOUND',
      fault: 'caller',
      message: `Cannot find image "${id}" of tenant "${tenant}": "thaw image ls" lists those there are`,
    });
  }
}
