#include "words.h"
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s TEXT\n", argv[0]);
        return 2;
    }
    printf("%s: %zu\n", words_greeting(), words_distinct(argv[1]));
    return 0;
}
