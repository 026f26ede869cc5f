#include "words.h"
#include <stdlib.h>
#include <string.h>

size_t words_distinct(const char *text)
{
    char *copy = strdup(text);
    char *seen[256];
    size_t count = 0;

    if (copy == NULL)
        return 0;
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        size_t i = 0;
        while (i < count && strcmp(seen[i], word) != 0)
            i++;
        if (i == count && count < sizeof seen / sizeof seen[0])
            seen[count++] = word;
    }
    free(copy);
    return count;
}
