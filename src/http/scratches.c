/* What TLS encrypts into (net/stream.h), for threads that are lent a stream: as many as there are such threads at once, kept for the
 * next. */
#include "http/connection.h"

void scratches_init(struct scratches *scratches)
{
        pthread_mutex_init(&scratches->lock, NULL);
}

void scratches_fini(struct scratches *scratches)
{
        while (scratches->count)
                stream_scratch_free(scratches->spare[--scratches->count]);
        pthread_mutex_destroy(&scratches->lock);
}

static struct stream_scratch *take(struct scratches *scratches)
{
        struct stream_scratch *scratch;

        pthread_mutex_lock(&scratches->lock);
        scratch = scratches->count ? scratches->spare[--scratches->count] : NULL;
        pthread_mutex_unlock(&scratches->lock);
        return scratch;
}

static bool give_back(struct scratches *scratches, struct stream_scratch *scratch)
{
        bool room;

        pthread_mutex_lock(&scratches->lock);
        room = scratches->count < ARRAY_LEN(scratches->spare);
        if (room)
                scratches->spare[scratches->count++] = scratch;
        pthread_mutex_unlock(&scratches->lock);
        return room;
}

bool scratches_lend(struct scratches *scratches, struct stream *stream, struct stream_scratch **ret_of_loop)
{
        struct stream_scratch *scratch = take(scratches);
        struct err ignored;

        if (!scratch && !stream_scratch_new(&scratch, &ignored).ok)
                return false;
        *ret_of_loop = stream->scratch;
        stream->scratch = scratch;
        return true;
}

void scratches_take_back(struct scratches *scratches, struct stream *stream, struct stream_scratch *of_loop)
{
        if (!give_back(scratches, stream->scratch))
                stream_scratch_free(stream->scratch);
        stream->scratch = of_loop;
}
